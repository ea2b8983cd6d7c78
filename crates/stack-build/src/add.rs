//! COPY and ADD.

use std::io::Read;
use std::path::{Path, PathBuf};

use fs_err as fs;
use stack_image::StoredLayer;
use stack_image::unpack::{Limits, unpack_confined};

use crate::copy::{Chmod, Marks, Target};
use crate::error::{BuildError, Wrong};
use crate::glob::Pattern;
use crate::lex::{self, Raw, document_of};
use crate::remote;
use crate::sources::{self, Entry, Found, Tree};
use crate::stage::{self, StageRun};
use crate::steps::{Named, Opened, excludes};
use crate::{time, words};

/// Flags of COPY and ADD.
#[derive(Debug, Default)]
struct Flags {
    from: Option<String>,
    owner: Option<String>,
    mode: Option<Chmod>,
    link: bool,
    parents: bool,
    exclude: Vec<String>,
    checksum: Option<String>,
    /// `--unpack`; by default an archive of the context is unpacked and one from elsewhere is not.
    unpack: Option<bool>,
}

/// One source, ready to be written.
#[derive(Debug)]
enum Piece {
    /// A directory's content, or with `--parents` the path that leads to something.
    Entries(Vec<Entry>),
    /// One file or link, by its name.
    One(Entry),
    Bytes {
        name: String,
        bytes: Vec<u8>,
    },
    Remote {
        name: String,
        file: PathBuf,
        modified: i64,
    },
    Archive(PathBuf),
}

/// Sources, destination, marks.
struct Job {
    pieces: Vec<Piece>,
    destination: PathBuf,
    /// The destination is a directory whatever is there.
    is_directory: bool,
    marks: Marks,
}

impl StageRun<'_> {
    pub(crate) fn copy_step(&mut self, raw: &Raw) -> Result<bool, BuildError> {
        let flags = self.copy_flags(raw)?;
        let words = self.copy_words(raw)?;
        let Some(((_, destination), sources)) = words.split_last().filter(|(_, sources)| !sources.is_empty()) else {
            let message = format!("{} needs a source and a destination", raw.keyword);
            return Err(self.mistake(Wrong::new(raw.keyword_bytes.clone(), "missing-argument", message)));
        };
        let owner = flags.owner.as_deref().map(|owner| self.owner(raw, owner)).transpose()?;
        let described = format!(
            "{} {} {destination}",
            raw.keyword,
            sources.iter().map(|(_, word)| word.as_str()).collect::<Vec<_>>().join(" ")
        );
        let quick = self.quick_key(raw, &flags, &words, owner)?;
        if let Some(quick) = &quick
            && !self.is_fresh()
            && self.solver.cache.find(quick).is_some()
        {
            return self.layer(&[quick], &described, |_| Ok(None));
        }
        let opened = self.open_source(flags.from.as_deref())?;
        let pieces = self.pieces(raw, &flags, sources, &opened)?;
        let ends_in_slash = destination.ends_with('/') || destination.ends_with("/.") || destination == ".";
        let is_whole = |piece: &Piece| matches!(piece, Piece::Entries(_) | Piece::Archive(_));
        let job = Job {
            is_directory: ends_in_slash || pieces.len() > 1 || pieces.iter().any(is_whole),
            destination: self.absolute(destination),
            marks: Marks { owner, mode: flags.mode.clone(), keep: opened.tree.is_image },
            pieces,
        };
        let key = self.copy_key(&job, &flags)?;
        let mut keys = vec![key.as_str()];
        keys.extend(quick.as_deref());
        let link = flags.link;
        self.layer(&keys, &described, |run| run.write(&job, link))
    }

    /// Does what COPY and ADD say; `opened` of the caller keeps the sources mounted.
    fn write(&self, job: &Job, link: bool) -> Result<Option<StoredLayer>, BuildError> {
        let mut unpacked = Vec::new();
        for piece in &job.pieces {
            let Piece::Archive(file) = piece else { continue };
            let directory = self.solver.workshop()?.scratch()?;
            unpack_archive(file, &directory)?;
            let tree = Tree { root: directory.clone(), ignore: None, is_image: true };
            let root = tree.look(Path::new("")).map_err(|_| BuildError::request("an archive was removed"))?;
            unpacked.push(tree.walk(&root, Path::new(""), &[])?);
        }
        let now = self.solver.epoch.unwrap_or_else(time::now);
        self.change(link, |target| job.write(target, &unpacked, now))
    }

    fn copy_flags(&self, raw: &Raw) -> Result<Flags, BuildError> {
        let mut flags = Flags::default();
        for flag in &raw.flags {
            let value = self.expand_flag(flag)?;
            let wrong = |message: String| self.mistake(Wrong::new(flag.bytes.clone(), "copy-flag", message));
            let truth = || match value.as_str() {
                "" | "true" | "1" => Ok(true),
                "false" | "0" => Ok(false),
                other => Err(wrong(format!("--{} is true or false, not `{other}`", flag.name))),
            };
            match flag.name.as_str() {
                "from" => flags.from = Some(value),
                "chown" => flags.owner = Some(value),
                "chmod" => {
                    let mode = Chmod::parse(&value).ok_or_else(|| wrong(format!("`{value}` is not a mode")))?;
                    flags.mode = Some(mode);
                }
                "link" => flags.link = truth()?,
                "parents" => flags.parents = truth()?,
                "unpack" => flags.unpack = Some(truth()?),
                "exclude" => flags.exclude.push(value),
                "checksum" => {
                    let is_digest = value
                        .strip_prefix("sha256:")
                        .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
                    if !is_digest {
                        return Err(wrong("the checksum is `sha256:` and 64 digits".to_owned()));
                    }
                    flags.checksum = Some(value.to_ascii_lowercase());
                }
                other => return Err(wrong(format!("--{other} is not supported"))),
            }
        }
        Ok(flags)
    }

    /// Sources and destination with their places in the line.
    fn copy_words(&self, raw: &Raw) -> Result<Vec<(std::ops::Range<usize>, String)>, BuildError> {
        if let Some(list) = stage::list(&raw.rest) {
            let all = 0..raw.rest.len();
            return list.iter().map(|word| Ok((all.clone(), self.expand(raw, 0, word)?))).collect();
        }
        let mut words = Vec::new();
        for (start, word) in lex::shell_words(&raw.rest, self.escape()) {
            let place = start..start + word.len();
            // The name of a here-document is not a path.
            let is_document = document_of(&word).is_some() && !raw.documents.is_empty();
            words.push((place, if is_document { word } else { self.expand(raw, start, &word)? }));
        }
        Ok(words)
    }

    /// A user and a group by number, or by the files of the image.
    fn owner(&self, raw: &Raw, text: &str) -> Result<(u32, u32), BuildError> {
        let (user, group) = text.split_once(':').unwrap_or((text, ""));
        let wrong = |what: &str, name: &str| {
            let bytes = raw.flags.iter().find(|flag| flag.name == "chown").map_or(0..0, |flag| flag.bytes.clone());
            self.mistake(Wrong::new(bytes, "owner", format!("the image knows no {what} `{name}`")))
        };
        let both_numbers = user.parse::<u32>().is_ok() && (group.is_empty() || group.parse::<u32>().is_ok());
        let (passwd, groups) = if both_numbers { (String::new(), String::new()) } else { self.account_files()? };
        let find = |text: &str, name: &str| {
            let line = text.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| fields[0] == name)?;
            let number = |index: usize| line.get(index)?.parse::<u32>().ok();
            Some((number(2)?, number(3)))
        };
        let (uid, own_group) = match user.parse::<u32>() {
            Ok(number) => (number, number),
            Err(_) => {
                let (uid, gid) = find(&passwd, user).ok_or_else(|| wrong("user", user))?;
                (uid, gid.unwrap_or(uid))
            }
        };
        let gid = match (group, group.parse::<u32>()) {
            ("", _) => own_group,
            (_, Ok(number)) => number,
            (name, Err(_)) => find(&groups, name).ok_or_else(|| wrong("group", name))?.0,
        };
        Ok((uid, gid))
    }

    fn account_files(&self) -> Result<(String, String), BuildError> {
        let view = self.solver.workshop()?.view(self.solver.builder.store(), &self.state.layers)?;
        let target = Target::new(view.open()?);
        let read = |path: &str| {
            target.read(Path::new(path)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
        };
        Ok((read("etc/passwd"), read("etc/group")))
    }

    /// For sources in an image: its layers, so that nothing of it needs to be read when they are the same.
    fn quick_key(
        &self,
        raw: &Raw,
        flags: &Flags,
        words: &[(std::ops::Range<usize>, String)],
        owner: Option<(u32, u32)>,
    ) -> Result<Option<String>, BuildError> {
        let Some(from) = flags.from.as_deref() else { return Ok(None) };
        let Named::Layers(layers) = self.named(from)? else { return Ok(None) };
        let mut key = self.key("copy-from", !flags.link);
        key.add("keyword", &raw.keyword);
        layers.iter().for_each(|layer| key.add("source", layer.diff_id().as_str()));
        words.iter().for_each(|(_, word)| key.add("word", word));
        raw.documents.iter().for_each(|document| key.add("document", &document.content));
        key.add("directory", self.directory());
        key.add("flags", format!("{owner:?} {:?} {} {} {:?}", flags.mode, flags.link, flags.parents, flags.exclude));
        Ok(Some(key.finish()))
    }

    fn pieces(
        &self,
        raw: &Raw,
        flags: &Flags,
        words: &[(std::ops::Range<usize>, String)],
        opened: &Opened<'_>,
    ) -> Result<Vec<Piece>, BuildError> {
        let exclude = excludes(&flags.exclude);
        let mut documents = raw.documents.iter();
        let mut pieces = Vec::new();
        for (place, word) in words {
            if !raw.documents.is_empty()
                && document_of(word).is_some()
                && let Some(document) = documents.next()
            {
                let text = document.text();
                let text = match document.expand {
                    true => words::expand_document(&text, &|name| self.lookup(name))
                        .map_err(|error| self.mistake(Wrong::new(raw.bytes.clone(), "variable", error.message)))?,
                    false => text,
                };
                pieces.push(Piece::Bytes { name: document.name.clone(), bytes: text.into_bytes() });
                continue;
            }
            if raw.keyword == "ADD" && remote::is_git(word) {
                let wrong = Wrong::new(raw.places.range(place.clone()), "git", "sources from git are not supported");
                return Err(self.mistake(wrong.help("clone it beside the Dockerfile, or fetch an archive with https")));
            }
            if raw.keyword == "ADD" && remote::is_remote(word) {
                pieces.push(self.fetch(raw, flags, place, word)?);
                continue;
            }
            let found = opened.tree.find(word).map_err(|missing| self.missing(raw, place.clone(), word, missing))?;
            for one in found {
                self.piece(raw, flags, word, &one, opened, &exclude, &mut pieces)?;
            }
        }
        Ok(pieces)
    }

    #[expect(clippy::too_many_arguments, reason = "they are what one source is made of")]
    fn piece(
        &self,
        raw: &Raw,
        flags: &Flags,
        word: &str,
        found: &Found,
        opened: &Opened<'_>,
        exclude: &[Pattern],
        pieces: &mut Vec<Piece>,
    ) -> Result<(), BuildError> {
        let tree = &opened.tree;
        if flags.parents {
            pieces.push(Piece::Entries(with_parents(tree, word, found, exclude)?));
            return Ok(());
        }
        if found.metadata.is_dir() {
            pieces.push(Piece::Entries(tree.walk(found, Path::new(""), exclude)?));
            return Ok(());
        }
        if exclude.iter().any(|pattern| pattern.matches(&found.path.file_name().unwrap_or_default().to_string_lossy()))
        {
            return Ok(());
        }
        let unpacks = raw.keyword == "ADD" && flags.unpack.unwrap_or(true) && found.metadata.is_file();
        if unpacks && is_archive(&found.real) {
            pieces.push(Piece::Archive(found.real.clone()));
            return Ok(());
        }
        let name = found.path.file_name().map_or_else(PathBuf::new, PathBuf::from);
        pieces.push(Piece::One(Entry { target: name, source: found.real.clone(), metadata: found.metadata.clone() }));
        Ok(())
    }

    fn fetch(&self, raw: &Raw, flags: &Flags, place: &std::ops::Range<usize>, url: &str) -> Result<Piece, BuildError> {
        let path = self.solver.workshop()?.scratch()?.join("file");
        let at = || raw.places.range(place.clone());
        let fetched = remote::fetch(url, &path).map_err(|reason| {
            let wrong = Wrong::new(at(), "fetch", format!("`{url}` cannot be fetched: {reason}"));
            self.failure(wrong, stack_model::Fault::Transient, None)
        })?;
        if let Some(expected) = flags.checksum.as_ref().filter(|expected| **expected != fetched.digest) {
            let message = format!("`{url}` is not what the checksum says: it is {}", fetched.digest);
            return Err(self.mistake(Wrong::new(at(), "checksum", message).help(format!("expected {expected}"))));
        }
        if flags.unpack == Some(true) && is_archive(&fetched.path) {
            return Ok(Piece::Archive(fetched.path));
        }
        Ok(Piece::Remote { name: remote::name(url).to_owned(), file: fetched.path, modified: fetched.modified })
    }

    fn copy_key(&self, job: &Job, flags: &Flags) -> Result<String, BuildError> {
        let mut key = self.key("copy", !flags.link);
        key.add("destination", job.destination.to_string_lossy().as_bytes());
        key.add("marks", format!("{:?} {} {}", job.marks, flags.link, job.is_directory));
        for piece in &job.pieces {
            match piece {
                Piece::Entries(entries) => {
                    key.add("piece", "entries");
                    sources::describe(&mut key, entries, job.marks.keep, &self.solver.digests)?;
                }
                Piece::One(entry) => {
                    key.add("piece", "one");
                    sources::describe(&mut key, std::slice::from_ref(entry), job.marks.keep, &self.solver.digests)?;
                }
                Piece::Bytes { name, bytes } => {
                    key.add("piece", name);
                    key.add("bytes", bytes);
                }
                Piece::Remote { name, file, .. } => {
                    key.add("piece", name);
                    key.add("content", self.digest(file)?);
                }
                Piece::Archive(file) => {
                    key.add("piece", "archive");
                    key.add("content", self.digest(file)?);
                }
            }
        }
        Ok(key.finish())
    }

    fn digest(&self, file: &Path) -> Result<String, BuildError> {
        let metadata = fs::metadata(file).map_err(BuildError::io("look at", file))?;
        self.solver.digests.of(file, &metadata)
    }
}

impl Job {
    fn write(&self, target: &mut Target, unpacked: &[Vec<Entry>], now: i64) -> Result<(), BuildError> {
        let owner = self.marks.owner.unwrap_or((0, 0));
        let destination = &self.destination;
        let is_directory = self.is_directory || target.is_directory(destination);
        let place = match (is_directory, destination.parent()) {
            (true, _) => destination.as_path(),
            (false, parent) => parent.unwrap_or(Path::new("")),
        };
        target.ensure_directory(place, owner)?;
        let path = |name: &Path| if is_directory { destination.join(name) } else { destination.clone() };
        let mode = |mode: u32| self.marks.mode.as_ref().map_or(mode, |change| change.apply(mode, false));
        let mut unpacked = unpacked.iter();
        for piece in &self.pieces {
            match piece {
                Piece::Entries(entries) => put_all(target, destination, entries, &self.marks)?,
                Piece::One(entry) => target.put(&path(&entry.target), entry, &self.marks)?,
                Piece::Bytes { name, bytes } => {
                    target.put_bytes(&path(Path::new(name)), bytes, mode(0o644), owner, now)?;
                }
                Piece::Remote { name, file, modified } => {
                    let bytes = fs::read(file).map_err(BuildError::io("read", file))?;
                    target.put_bytes(&path(Path::new(name)), &bytes, mode(0o600), owner, *modified)?;
                }
                // What is in an archive has its own owners.
                Piece::Archive(_) => {
                    let marks = Marks { keep: true, ..self.marks.clone() };
                    put_all(target, destination, unpacked.next().map_or(&[][..], Vec::as_slice), &marks)?;
                }
            }
        }
        Ok(())
    }
}

fn put_all(target: &mut Target, place: &Path, entries: &[Entry], marks: &Marks) -> Result<(), BuildError> {
    entries.iter().try_for_each(|entry| target.put(&place.join(&entry.target), entry, marks))
}

/// The path that leads to something, from where `/./` stands in the source, and all below it.
fn with_parents(tree: &Tree<'_>, word: &str, found: &Found, exclude: &[Pattern]) -> Result<Vec<Entry>, BuildError> {
    let skipped = word.split_once("/./").map_or(0, |(before, _)| sources::relative(before).components().count());
    let target: PathBuf = found.path.components().skip(skipped).collect();
    let mut entries = Vec::new();
    let mut ancestors: Vec<&Path> = found.path.ancestors().skip(1).collect();
    ancestors.reverse();
    for ancestor in ancestors {
        let inner: PathBuf = ancestor.components().skip(skipped).collect();
        if inner.as_os_str().is_empty() {
            continue;
        }
        let Ok(directory) = tree.look(ancestor) else { continue };
        entries.push(Entry { target: inner, source: directory.real, metadata: directory.metadata });
    }
    if !target.as_os_str().is_empty() {
        entries.push(Entry { target: target.clone(), source: found.real.clone(), metadata: found.metadata.clone() });
    }
    if found.metadata.is_dir() {
        entries.extend(tree.walk(found, &target, exclude)?);
    }
    Ok(entries)
}

/// Size of a header (tar(5)).
const HEADER: usize = 512;

/// A tar, or one compressed with something that is known: by its content, whatever its name.
fn is_archive(file: &Path) -> bool {
    let check = || -> std::io::Result<bool> {
        let mut header = [0; HEADER];
        decompress(file)?.read_exact(&mut header)?;
        let sum: u32 = header
            .iter()
            .enumerate()
            .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) })
            .sum();
        let text = String::from_utf8_lossy(&header[148..156]).into_owned();
        let text = text.trim_matches(|c: char| c == '\0' || c == ' ');
        Ok(u32::from_str_radix(text, 8).is_ok_and(|written| written == sum))
    };
    check().unwrap_or(false)
}

fn decompress(file: &Path) -> std::io::Result<Box<dyn Read + Send>> {
    let mut opened = fs::File::open(file)?;
    let mut start = [0; 6];
    let count = opened.read(&mut start)?;
    std::io::Seek::rewind(&mut opened)?;
    let reader = std::io::BufReader::with_capacity(256 << 10, opened);
    Ok(match &start[..count] {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(reader)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(zstd::stream::read::Decoder::with_buffer(reader)?),
        [b'B', b'Z', b'h', ..] => Box::new(bzip2::bufread::MultiBzDecoder::new(reader)),
        [0xfd, b'7', b'z', b'X', b'Z', 0] => Box::new(lzma_rust2::XzReader::new(reader, true)),
        _ => Box::new(reader),
    })
}

fn unpack_archive(file: &Path, directory: &Path) -> Result<(), BuildError> {
    let size = fs::metadata(file).map_err(BuildError::io("look at", file))?.len();
    let limits = Limits { compressed: size, ..Limits::default() };
    let reader = decompress(file).map_err(BuildError::io("read", file))?;
    unpack_confined(reader, directory, &limits)
        .map(drop)
        .map_err(|error| BuildError::io("unpack", file)(std::io::Error::other(error)))
}
