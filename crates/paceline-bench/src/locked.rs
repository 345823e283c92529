//! Which version of a peer was linked.

/// The version of a package that the workspace is locked to; the first of them where there are several.
pub(crate) fn version(package: &str) -> &'static str {
    const LOCKED: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.lock"));
    let entry = format!("name = \"{package}\"\nversion = \"");
    let rest = LOCKED.split_once(&entry).map_or("", |(_, rest)| rest);
    rest.split_once('"').map_or("?", |(version, _)| version)
}
