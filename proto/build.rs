//! Generates the Rust of every contract with protox, so that nobody needs protoc.

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=payswitch");
    let mut contracts = Vec::new();
    collect(Path::new("payswitch"), &mut contracts)?;
    contracts.sort();
    let descriptors = protox::compile(&contracts, ["."])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), prost::Message::encode_to_vec(&descriptors))?;
    tonic_prost_build::configure().bytes(".").skip_debug(OPAQUE).compile_fds(descriptors)?;
    Ok(())
}

/// Messages that can hold card data, or free text that nobody has searched for it yet. `src/opaque.rs` says how they print.
const OPAQUE: [&str; 14] = [
    ".payswitch.gateway.v1.AuthorizeRequest",
    ".payswitch.gateway.v1.AuthorizeStreamRequest",
    ".payswitch.gateway.v1.Card",
    ".payswitch.gateway.v1.CardExpiry",
    ".payswitch.gateway.v1.Chip",
    ".payswitch.gateway.v1.KeyedCard",
    ".payswitch.gateway.v1.MagneticStripe",
    ".payswitch.gateway.v1.NetworkToken",
    ".payswitch.gateway.v1.SealedCard",
    ".payswitch.gateway.v1.StoredCredential",
    ".payswitch.gateway.v1.ThreeDSecure",
    ".payswitch.gateway.v1.VerifyCardRequest",
    ".payswitch.network.v1.CardData",
    ".payswitch.peer.v1.ForwardRequest",
];

fn collect(folder: &Path, into: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, into)?;
        } else if path.extension().is_some_and(|extension| extension == "proto") {
            into.push(path);
        }
    }
    Ok(())
}
