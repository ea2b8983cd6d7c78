//! The main job on a machine that has nothing but this repository and Rust.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::run::{self, program, workspace};

/// The port of examples/hello.
const PORT: u16 = 8080;
/// The page is there within milliseconds; a machine that swaps may take longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Builds the program, runs the example, shows what a user would see.
pub(crate) fn run() -> Outcome {
    let stack = run::release()?;
    let example = workspace().join("examples/hello");
    let result = drive(&stack, &example);
    let down = stack_in(&stack, &example, &["down"]);
    result.and(down)
}

fn drive(stack: &Path, example: &Path) -> Outcome {
    stack_in(stack, example, &["up", "-d"])?;
    println!("+ GET http://127.0.0.1:{PORT}/\n{}", page()?);
    stack_in(stack, example, &["ps"])?;
    stack_in(stack, example, &["plan"])
}

fn stack_in(stack: &Path, example: &Path, arguments: &[&str]) -> Outcome {
    run::run(program(stack).current_dir(example).args(arguments))
}

/// The page of the example, as soon as it answers.
fn page() -> Result<String, std::io::Error> {
    let start = Instant::now();
    loop {
        match get() {
            Err(error) if start.elapsed() > PATIENCE => return Err(error),
            Err(_) => std::thread::park_timeout(Duration::from_millis(20)),
            Ok(page) => return Ok(page),
        }
    }
}

fn get() -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", PORT))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200") => Ok(body.to_owned()),
        _ => Err(std::io::Error::other(answer)),
    }
}
