//! Automation of the workspace. `cargo xtask help` lists what there is.
//!
//! It runs other programs (apt, cargo, debootstrap, docker compose); the product never does.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for developers says what it does")]

mod bench;
mod fuzz;
mod gate;
mod hello;
mod images;
mod network;
mod registry;
mod run;
mod setup;
mod suites;
mod tidy;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What every task returns.
pub(crate) type Outcome = Result<(), Box<dyn std::error::Error>>;

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "Automation of the stack workspace")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Builds the program and runs examples/hello with it: up, a request, ps, plan, down
    Hello,
    /// Passes all tests: installs the Debian packages, makes the images, starts the registry, runs the gate
    #[command(alias = "ci")]
    Test,
    /// Makes the images of the examples and tests and pushes them to the registry on 127.0.0.1:5000
    Images(images::ImagesArgs),
    /// Measures stack beside docker compose: up, up again, down, memory, edits
    Bench(bench::BenchArgs),
    /// Feeds broken input to everything that reads what others wrote
    Fuzz(fuzz::FuzzArgs),
    /// Installs the Debian packages that the tests need, where they are missing
    Setup,
    /// Runs the suites of crun, runc and runtime-tools against `stack oci`, and against crun and runc
    Suites(suites::SuitesArgs),
    /// Runs the scenarios in a virtual machine with cgroup v2 and systemd
    Vm(vm::VmArgs),
    /// Checks what the compiler does not: crate layers, file sizes, unsafe, forgotten tests
    Tidy,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Hello => hello::run(),
        Task::Test => gate::run(),
        Task::Images(args) => images::run(&args),
        Task::Bench(args) => bench::run(&args),
        Task::Fuzz(args) => fuzz::run(&args),
        Task::Setup => setup::run(),
        Task::Suites(args) => suites::run(&args),
        Task::Vm(args) => vm::run(&args),
        Task::Tidy => tidy::run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
