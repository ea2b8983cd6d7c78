//! A name that stays the same image: the name with the digest it has now.

use stack_model::ImageReference;

use crate::error::ImageError;
use crate::reference::Reference;
use crate::registry::Registry;

/// Asks the registry for the digest behind a name and gives the name with it, whole: `docker.io/library/redis:7@sha256:…`.
/// A name with a digest is only written whole, without a question.
///
/// # Errors
/// It is no name, or the registry does not have it or cannot be asked.
pub async fn pin(image: &ImageReference) -> Result<String, ImageError> {
    let reference = Reference::parse(image.as_str())?;
    if reference.digest().is_some() {
        return Ok(reference.to_string());
    }
    // The digest of the whole index where there is one: it is the same image on every platform.
    let (_, digest) = Registry::new(&reference).await?.document(None).await?;
    Ok(format!("{reference}@{digest}"))
}
