//! mallopt(3), malloc_trim(3), and madvise(2) for the program's own code.

use std::ffi::c_void;
use std::path::Path;

/// Makes the C library serve all threads from one heap. A process with a few mostly idle threads then does not keep a
/// heap for each.
pub fn use_one_arena() {
    // SAFETY: mallopt only sets a number; a refusal leaves the default.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}

/// Gives free memory back to the kernel: free pages of the heap, and the pages of the program's code, which the kernel
/// maps again from its page cache as soon as they are run. For a process that has worked and will mostly wait.
pub fn release_free_memory() {
    // SAFETY: malloc_trim takes the allocator's own locks and touches free memory only.
    unsafe { libc::malloc_trim(0) };
    let maps = fs_err::read_to_string("/proc/self/maps").unwrap_or_default();
    let program = fs_err::read_link("/proc/self/exe").unwrap_or_default();
    for (start, length) in maps.lines().filter_map(|line| code_of(line, &program)) {
        // SAFETY: the range is a file mapping without write permission, so every page of it is still what the file
        // has, and what is dropped comes back unchanged with the next access (madvise(2), MADV_DONTNEED). The program
        // is static: nothing was relocated in its code.
        unsafe { libc::madvise(start as *mut c_void, length, libc::MADV_DONTNEED) };
    }
}

/// Start and length of a mapping if it is code of the program (proc_pid_maps(5)).
fn code_of(line: &str, program: &Path) -> Option<(usize, usize)> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let is_code = words.next()? == "r-xp" && Path::new(words.nth(3)?) == program;
    let (start, end) = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
    is_code.then_some((start, end - start))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resident_bytes() -> usize {
        let text = fs_err::read_to_string("/proc/self/statm").unwrap();
        text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
    }

    #[test]
    fn free_memory_goes_back_and_the_program_goes_on() {
        const KEPT: usize = 64 << 20;
        // Small pieces come from the heap, and the last one keeps the heap from shrinking by itself.
        let mut pieces: Vec<Box<[u8]>> = (0..KEPT / 4096).map(|_| vec![1; 4096].into_boxed_slice()).collect();
        let last = pieces.pop();
        drop(pieces);
        let before = resident_bytes();
        release_free_memory();
        assert!(resident_bytes() + KEPT / 2 < before, "{} of {before}", resident_bytes());
        drop(last);
    }

    #[test]
    fn only_code_of_the_program_is_found() {
        let program = Path::new("/bin/stack");
        let of = |line: &str| code_of(line, program);
        assert_eq!(of("00400000-00402000 r-xp 00001000 fe:00 12   /bin/stack"), Some((0x40_0000, 0x2000)));
        assert_eq!(of("00400000-00402000 r--p 00001000 fe:00 12   /bin/stack"), None);
        assert_eq!(of("00400000-00402000 r-xp 00001000 fe:00 12   /lib/libc.so.6"), None);
        assert_eq!(of("00400000-00402000 r-xp 00000000 00:00 0"), None);
    }
}
