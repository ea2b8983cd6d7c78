//! The command line: one file per verb, renderers, exit codes.
