//! `stack images`.

use clap::Args;
use serde_json::json;
use stack_image::StoredImage;

use crate::context::Context;
use crate::error::CliError;
use crate::output;

/// Options of `images`.
#[derive(Debug, Args)]
pub(crate) struct ImagesArgs {
    /// Only ids
    #[arg(short, long)]
    quiet: bool,
    /// `table` or `json`
    #[arg(long, default_value = "table", value_parser = ["table", "json"])]
    format: String,
}

pub(crate) fn run(context: &Context, args: &ImagesArgs) -> Result<u8, CliError> {
    let images = super::store(context)?.list().map_err(super::image_failed)?;
    if args.quiet {
        let mut ids: Vec<&str> = images.iter().map(|image| image.id.as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        ids.into_iter().try_for_each(output::line)?;
    } else if args.format == "json" {
        let list: Vec<_> = images.iter().map(describe).collect();
        output::line(&serde_json::Value::from(list).to_string())?;
    } else {
        let row = |image: &StoredImage| {
            let id = image.id.as_str().trim_start_matches("sha256:").chars().take(12).collect();
            let unpacked = if image.is_unpacked { "yes" } else { "no" }.to_owned();
            vec![image.reference.to_string(), id, super::shown_size(image.size), unpacked]
        };
        let rows: Vec<Vec<String>> = images.iter().map(row).collect();
        output::result(output::table(&["IMAGE", "ID", "SIZE", "UNPACKED"], &rows).as_bytes())?;
    }
    Ok(0)
}

fn describe(image: &StoredImage) -> serde_json::Value {
    json!({ "image": image.reference, "id": image.id, "size": image.size.0, "unpacked": image.is_unpacked })
}
