//! `stack demo …`: the programs inside the image `stack.local/self`. Hidden from the main help: they are what the
//! example and the tests run, on machines that have no other image.

mod dns;
mod http;
mod small;

use clap::{Args, Subcommand};

/// Programs for the built-in image.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    #[command(subcommand)]
    program: Program,
}

#[derive(Debug, Subcommand)]
enum Program {
    /// A page that asks a counter and shows its answer.
    Web {
        /// Port to listen on.
        #[arg(long)]
        listen: u16,
        /// Where the counter is.
        #[arg(long)]
        backend: String,
    },
    /// Counts its requests.
    Counter {
        /// Port to listen on.
        #[arg(long)]
        listen: u16,
    },
    /// Exit code 0 when the address answers with status 200.
    Check {
        /// An http address.
        url: String,
    },
    /// Sleeps until it is told to stop.
    Sleep {
        /// A line to print first.
        #[arg(long)]
        say: Option<String>,
        /// A line to print when it is told to stop.
        #[arg(long)]
        last_words: Option<String>,
        /// The exit code then.
        #[arg(long, default_value_t)]
        code: u8,
    },
    /// Sleeps without a handler for any signal.
    IgnoreTerm,
    /// Prints numbered lines, then sleeps until it is told to stop.
    Flood {
        /// How many.
        lines: u64,
    },
    /// Ends with this exit code.
    Exit {
        /// The code.
        code: u8,
    },
    /// Prints what it sees of its surroundings.
    Show,
    /// Prints what it reads.
    Copy,
    /// Prints the size of its terminal, again when it changes, until it is told to stop.
    Size,
    /// Takes this much memory, in MiB, and keeps it.
    Eat {
        /// How much.
        mebibytes: usize,
    },
}

/// Runs a program to its end.
pub(crate) fn run(args: DemoArgs) -> u8 {
    let done = match args.program {
        Program::Web { listen, backend } => http::serve_page(listen, &backend),
        Program::Counter { listen } => http::serve_counter(listen),
        Program::Check { url } => http::get(&url).map(|_| 0),
        Program::Sleep { say, last_words, code } => small::sleep(say, last_words, code),
        Program::IgnoreTerm => small::ignore_every_signal(),
        Program::Flood { lines } => small::flood(lines),
        Program::Exit { code } => Ok(code),
        Program::Show => small::show(),
        Program::Copy => small::copy(),
        Program::Size => small::size(),
        Program::Eat { mebibytes } => small::eat(mebibytes),
    };
    done.unwrap_or_else(|error| {
        // What a program in a container has to say goes to its log.
        drop(small::say_error(&error));
        1
    })
}
