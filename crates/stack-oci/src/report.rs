//! Where errors go: standard error for a person, the log for an engine.

#![expect(clippy::print_stderr, reason = "it is the one place that prints errors")]

use std::error::Error;
use std::io::Write;
use std::path::PathBuf;

use stack_runtime::oci::OciError;

use crate::arguments::{Global, LogFormat};

/// What is done with an error.
pub(crate) struct Log {
    file: Option<PathBuf>,
    format: LogFormat,
}

impl Log {
    pub(crate) fn new(global: &Global) -> Self {
        Self { file: global.log.clone(), format: global.log_format }
    }

    /// Tells of an error, with its causes. To both places: conmon shows the log to Podman, containerd standard error.
    pub(crate) fn error(&self, error: &OciError) {
        self.tell("error", &message(error));
    }

    /// Tells of something that is no error.
    pub(crate) fn warning(&self, text: &str) {
        self.tell("warning", text);
    }

    fn tell(&self, level: &str, text: &str) {
        let file = self.file.as_ref().filter(|file| file.as_os_str() != "/dev/stderr");
        if let Some(file) = file
            && let Ok(mut log) = fs_err::OpenOptions::new().append(true).create(true).open(file)
        {
            // An error that cannot be logged is still on standard error.
            drop(writeln!(log, "{}", self.line(level, text)));
        }
        match (file, self.format) {
            (None, LogFormat::Json) => eprintln!("{}", self.line(level, text)),
            _ => eprintln!("stack-oci: {text}"),
        }
    }

    fn line(&self, level: &str, text: &str) -> String {
        let time = stack_runtime::oci::now();
        match self.format {
            LogFormat::Json => serde_json::json!({ "msg": text, "level": level, "time": time }).to_string(),
            LogFormat::Text => format!("time=\"{time}\" level={level} msg={text:?}"),
        }
    }
}

/// An error with its causes.
pub(crate) fn message(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(one) = cause {
        let more = one.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        cause = one.source();
    }
    text
}
