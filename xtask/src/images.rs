//! The images of examples/shop and of the tests, made from Debian packages and pushed to the local registry.
//!
//! ```text
//!   recipes --build--> trees/<key>/ --pack--> layout/blobs, layers/<key>.json --push (skopeo)--> registry
//! ```
//!
//! A layer's key is the hash of its recipe and of all recipes below it, so a second run does nothing.

mod build;
mod layout;
mod pack;
mod recipes;
mod tree;

use std::path::{Path, PathBuf};

use clap::Args;

use crate::Outcome;
use crate::registry::{self, RegistryGuard};
use crate::run::{output, program};
use layout::Built;

type Failed = Box<dyn std::error::Error>;

/// Options of `cargo xtask images`.
#[derive(Debug, Args)]
pub(crate) struct ImagesArgs {
    /// Show what the registry has
    #[arg(long)]
    list: bool,
    /// Stop the registry that an earlier run left
    #[arg(long, conflicts_with = "list")]
    stop: bool,
}

/// Makes what is missing, pushes it, and leaves the registry running.
pub(crate) fn run(args: &ImagesArgs) -> Outcome {
    if args.stop {
        let stopped = registry::stop()?;
        println!("{}", if stopped { "the registry is stopped" } else { "no registry of an earlier run is left" });
        return Ok(());
    }
    if args.list {
        return list();
    }
    let made = make_all()?;
    registry::ensure_running()?;
    push_all(&made)?;
    println!("the registry on 127.0.0.1:{} has the images; `cargo xtask images --stop` stops it", registry::PORT);
    Ok(())
}

/// Serves the images until the guard goes.
pub(crate) fn serve(made: &[Made]) -> Result<RegistryGuard, Failed> {
    let guard = registry::ensure()?;
    push_all(made)?;
    Ok(guard)
}

/// Where everything is kept between runs and checkouts.
pub(crate) fn cache() -> PathBuf {
    if let Some(chosen) = std::env::var_os("STACK_IMAGES_CACHE") {
        return chosen.into();
    }
    let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("/root"), PathBuf::from);
    home.join(".cache/stack-images")
}

/// An image that is in the layout.
#[derive(Debug)]
pub(crate) struct Made {
    names: &'static [&'static str],
    built: Built,
}

/// Makes what is missing. Needs the network that packages come from.
pub(crate) fn make_all() -> Result<Vec<Made>, Failed> {
    let cache = cache();
    let _lock = lock(&cache)?;
    let make = |image: recipes::Image| Ok(Made { names: image.names, built: layout::ensure(&cache, &image)? });
    recipes::images().into_iter().map(make).collect()
}

/// Two runs at the same time would unpack into the same trees.
fn lock(cache: &Path) -> Result<fs_err::File, Failed> {
    fs_err::create_dir_all(cache)?;
    let lock = fs_err::File::create(cache.join("lock"))?;
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)?;
    Ok(lock)
}

fn push_all(made: &[Made]) -> Outcome {
    let cache = cache();
    let _lock = lock(&cache)?;
    for Made { names, built } in made {
        for name in *names {
            push(&cache, name, built)?;
        }
    }
    Ok(())
}

fn push(cache: &Path, name: &str, built: &Built) -> Outcome {
    let (repository, tag) = name.split_once(':').ok_or("an image has a name and a tag")?;
    if registry::digest(registry::PORT, repository, tag).as_deref() == Some(&built.digest) {
        return Ok(());
    }
    println!("+ push {name}");
    let source = format!("oci:{}:{name}", cache.join("layout").display());
    let target = format!("docker://127.0.0.1:{}/{name}", registry::PORT);
    let flags = ["--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false", "--preserve-digests"];
    output(program("skopeo").args(flags).args([source, target])).map(drop)
}

fn list() -> Outcome {
    let _guard = registry::ensure()?;
    let cache = cache();
    for image in recipes::images() {
        let built = layout::find(&cache, &image)?;
        for name in image.names {
            let (repository, tag) = name.split_once(':').ok_or("an image has a name and a tag")?;
            let pushed = registry::digest(registry::PORT, repository, tag);
            let state = match (&built, &pushed) {
                (Some(built), Some(pushed)) if built.digest == *pushed => "current",
                (_, Some(_)) => "outdated",
                (_, None) => "missing",
            };
            let size = built.as_ref().map_or(0, |built| built.size.div_ceil(1 << 20));
            println!("127.0.0.1:{}/{name:<20} {state:<9} {size:>4} MiB  {} layers", registry::PORT, image.layers.len());
        }
    }
    Ok(())
}
