//! `platform`: which variant of the image.

use super::ServiceKey;
use crate::shape::common::TEXT;

pub(super) const KEY: ServiceKey = ServiceKey::new("platform", "Platform of the image: `os[/arch[/variant]]`.", &TEXT);
