//! The texts that were read, and places in them.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use stack_model::Origin;

/// Which file of [`Files`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FileId(u32);

/// A stretch of a file. The default one stands in no file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) file: FileId,
    /// Bytes of the file's text.
    pub(crate) start: u32,
    pub(crate) end: u32,
    /// Line of the start from 1; 0 stands in no file.
    pub(crate) line: u32,
    /// Column of the start in characters, from 1.
    pub(crate) column: u32,
}

impl Span {
    /// From the start of this one to the end of `last`, where both stand on one line.
    pub(crate) fn to(self, last: Self) -> Self {
        let together = self.file == last.file && self.line == last.line && last.end >= self.start;
        if together { Self { end: last.end, ..self } } else { self }
    }

    /// Stands in a file.
    pub(crate) fn is_somewhere(self) -> bool {
        self.line > 0
    }
}

/// A value with its place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Spanned<T> {
    pub(crate) value: T,
    pub(crate) span: Span,
}

impl<T> Spanned<T> {
    pub(crate) fn new(value: T, span: Span) -> Self {
        Self { value, span }
    }

    pub(crate) fn map<U>(self, change: impl FnOnce(T) -> U) -> Spanned<U> {
        Spanned { value: change(self.value), span: self.span }
    }
}

#[derive(Debug)]
struct File {
    path: PathBuf,
    text: Arc<str>,
}

/// Every text that was read. Only texts that a person edits as configuration: a secret's content is not among them.
#[derive(Debug, Default)]
pub(crate) struct Files {
    files: Vec<File>,
}

impl Files {
    pub(crate) fn add(&mut self, path: &Path, text: Arc<str>) -> FileId {
        let id = FileId(u32::try_from(self.files.len()).unwrap_or(u32::MAX));
        self.files.push(File { path: path.to_owned(), text });
        id
    }

    /// The place at `range` of a file.
    pub(crate) fn span(&self, file: FileId, range: Range<usize>) -> Span {
        let text = self.files.get(file.0 as usize).map_or("", |file| &file.text);
        span_of(text, file, range)
    }

    /// A file that was read already, with its text.
    pub(crate) fn find(&self, path: &Path) -> Option<(FileId, Arc<str>)> {
        let index = self.files.iter().position(|file| file.path == path)?;
        Some((FileId(narrow(index)), Arc::clone(&self.files[index].text)))
    }

    /// The beginning of a file that was read.
    pub(crate) fn start_of(&self, path: &Path) -> Span {
        match self.files.iter().position(|file| file.path == path) {
            Some(index) => self.span(FileId(narrow(index)), 0..0),
            None => Span::default(),
        }
    }

    /// The names of all files as the user would write them, in the order of their ids.
    pub(crate) fn names(&self, base: &Path) -> Names {
        Names(self.files.iter().map(|file| display_name(&file.path, base)).collect())
    }

    /// Each text under its name.
    pub(crate) fn texts(&self, base: &Path) -> impl Iterator<Item = (String, String)> {
        self.files.iter().map(move |file| (display_name(&file.path, base).to_string(), file.text.to_string()))
    }
}

/// Names of files by id.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names(Vec<Arc<str>>);

impl Names {
    /// Where a span begins.
    pub(crate) fn origin(&self, span: Span) -> Origin {
        if !span.is_somewhere() {
            return Origin::default();
        }
        let file = self.0.get(span.file.0 as usize).map_or_else(String::new, ToString::to_string);
        Origin { file, line: span.line, column: span.column }
    }
}

/// The place at `range` of a text; line and column are counted from its beginning.
pub(crate) fn span_of(text: &str, file: FileId, range: Range<usize>) -> Span {
    let start = floor_boundary(text, range.start);
    let end = floor_boundary(text, range.end).max(start);
    let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
    let line = 1 + text[..line_start].bytes().filter(|byte| *byte == b'\n').count();
    let column = 1 + text[line_start..start].chars().count();
    Span { file, start: narrow(start), end: narrow(end), line: narrow(line), column: narrow(column) }
}

/// Offsets fit: no file is larger than [`crate::source::MAX_FILE_BYTES`].
pub(crate) fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn floor_boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn display_name(path: &Path, base: &Path) -> Arc<str> {
    let shown = path.strip_prefix(base).unwrap_or(path);
    shown.to_string_lossy().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_and_offsets_count_bytes() {
        let span = span_of("a: b\nä: öx\n", FileId::default(), 11..12);
        assert_eq!((span.line, span.column, span.start, span.end), (2, 5, 11, 12));
    }

    #[test]
    fn names_are_relative_below_the_project_and_absolute_elsewhere() {
        assert_eq!(&*display_name(Path::new("/p/sub/compose.yaml"), Path::new("/p")), "sub/compose.yaml");
        assert_eq!(&*display_name(Path::new("/q/compose.yaml"), Path::new("/p")), "/q/compose.yaml");
    }
}
