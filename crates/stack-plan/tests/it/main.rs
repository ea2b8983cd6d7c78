//! Plans as text for every rule, and random projects that must converge.

mod changes;
mod containers;
mod ends;
mod gates;
mod images;
mod networks;
mod project;
mod random;
mod stops;
mod volumes;
mod world;
