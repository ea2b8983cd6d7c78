//! The merged logs of a project's containers, as they grow.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use stack_model::{ContainerId, Layout, ProjectName, ServiceName};
use stack_runtime::log::{LogMerge, LogReader, LogWatch};

use crate::error::CliError;
use crate::output::{self, LineStyle, Speaker};

/// Bytes that are written at once.
const BATCH_BYTES: usize = 64 << 10;

/// Readers of logs, and how their lines are shown.
#[derive(Debug)]
pub(crate) struct LogView {
    layout: Layout,
    project: ProjectName,
    merge: LogMerge<(ContainerId, Speaker)>,
    watch: LogWatch,
    shown: Shown,
    known: BTreeSet<ContainerId>,
    colours: BTreeMap<ServiceName, usize>,
    width: usize,
    style: LineStyle,
}

/// Which services' logs are shown.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shown {
    /// Only those of these, where some are named.
    pub(crate) only: Option<BTreeSet<ServiceName>>,
    /// And not those of these.
    pub(crate) hidden: BTreeSet<ServiceName>,
}

impl Shown {
    pub(crate) fn has(&self, service: &ServiceName) -> bool {
        self.only.as_ref().is_none_or(|only| only.contains(service)) && !self.hidden.contains(service)
    }
}

/// From where on a log is shown.
#[derive(Debug, Clone, Copy)]
pub(crate) enum From {
    /// Its oldest line.
    Beginning,
    /// What is written from now on.
    Now,
}

impl LogView {
    /// A view of nothing.
    pub(crate) fn new(
        layout: &Layout,
        project: &ProjectName,
        style: LineStyle,
        shown: Shown,
    ) -> Result<Self, CliError> {
        let watch = LogWatch::new().map_err(|error| CliError::io("cannot watch the logs", &error))?;
        Ok(Self {
            layout: layout.clone(),
            project: project.clone(),
            merge: LogMerge::default(),
            watch,
            shown,
            known: BTreeSet::new(),
            colours: BTreeMap::new(),
            width: 0,
            style,
        })
    }

    /// Adds a container's log, unless it is there already or is not to be shown.
    pub(crate) fn add(&mut self, id: &ContainerId, service: &ServiceName, name: &str, from: From) -> io::Result<()> {
        let directory = self.layout.container(&self.project, id);
        if self.known.contains(id) || !self.shown.has(service) || !directory.is_dir() {
            return Ok(());
        }
        // The watch is set before the log is opened, so that a line in between is not missed.
        self.watch.add(&directory)?;
        let mut reader = LogReader::open(&directory)?;
        if matches!(from, From::Now) {
            while reader.next_line()?.is_some() {}
        }
        let next = self.colours.len();
        let colour = *self.colours.entry(service.clone()).or_insert(next);
        self.reserve(name);
        self.merge.push((id.clone(), Speaker { name: name.to_owned(), colour }), reader);
        self.known.insert(id.clone());
        Ok(())
    }

    /// Makes names at least as wide as this one.
    pub(crate) fn reserve(&mut self, name: &str) {
        self.width = self.width.max(name.len());
    }

    /// Keeps only the last lines of each log so far, and none of other times (nanoseconds since the epoch).
    pub(crate) fn keep_tail(&mut self, count: Option<usize>, times: RangeInclusive<u64>) -> io::Result<()> {
        self.merge.keep_tail(count, times)
    }

    /// Lines without an end become lines.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        self.merge.finish(|_| true)
    }

    /// Watches for new containers too; `false` when the project has none and so no place for them.
    pub(crate) fn watch_containers(&mut self) -> io::Result<bool> {
        let containers = self.containers();
        if !containers.is_dir() {
            return Ok(false);
        }
        self.watch.add(&containers)?;
        Ok(true)
    }

    /// Whether there are containers that are not shown yet. Their directories are watched from now on, because a
    /// directory is there before its record.
    pub(crate) fn has_new_containers(&mut self) -> bool {
        let entries = fs_err::read_dir(self.containers()).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let new: Vec<String> =
            names.filter(|name| !name.starts_with('.') && !self.known.contains(name.as_str())).collect();
        for name in &new {
            // It may have gone again, which is no error of ours.
            drop(self.watch.add(&self.containers().join(name)));
        }
        !new.is_empty()
    }

    fn containers(&self) -> PathBuf {
        self.layout.project(&self.project).join("containers")
    }

    /// Takes wake-ups; whether there was one.
    pub(crate) fn drain(&mut self) -> io::Result<bool> {
        self.watch.drain()
    }

    /// Looks again at logs that had no more lines.
    pub(crate) fn refresh(&mut self) {
        self.merge.refresh();
    }

    /// The next lines that are there, ready to be written.
    pub(crate) fn take_ready(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        while bytes.len() < BATCH_BYTES {
            let Some(((_, speaker), line)) = self.merge.next()? else { break };
            bytes.extend_from_slice(&output::log_line(speaker, &line, self.width, self.style));
        }
        Ok(bytes)
    }

    /// Shows everything that is there.
    pub(crate) fn print_ready(&mut self) -> Result<(), CliError> {
        self.merge.refresh();
        loop {
            let bytes = self.take_ready().map_err(|error| CliError::io("cannot read the logs", &error))?;
            if bytes.is_empty() {
                return Ok(());
            }
            output::result(&bytes)?;
        }
    }
}

impl AsFd for LogView {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.watch.as_fd()
    }
}
