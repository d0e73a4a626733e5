//! A container's image comes from a registry the same way as a Wasm one, whose faults `bad_registry` has in full: the main ones again, with what is pulled for containers.

use super::fixture::*;
use super::stand_in::{Deed, Hostile, says, status};
use crate::images::blobs::digest_of;
use serde_json::json;

/// A layer that is long enough to be cut.
fn layer() -> Vec<u8> {
    gzip(&tar(&[("bin/program", &(0..20_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect::<Vec<_>>())]))
}

/// Offers the image as `app:1`; the layer's path.
fn offer(registry: &Hostile, deed: Deed) -> String {
    let (layer, native) = (layer(), crate::images::native());
    let config = json!({"architecture": native.architecture, "os": "linux", "config": {"Cmd": ["/bin/program"]}, "rootfs": {"type": "layers", "diff_ids": [digest_of(b"x")]}});
    let config = config.to_string().into_bytes();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": OCI_CONFIG, "digest": digest_of(&config), "size": config.len()},
        "layers": [{"mediaType": LAYER, "digest": digest_of(&layer), "size": layer.len()}],
    });
    registry.deed("/v2/app/manifests/1", Deed::Send(manifest.to_string().into_bytes()));
    registry.deed(&format!("/v2/app/blobs/{}", digest_of(&config)), Deed::Send(config));
    let path = format!("/v2/app/blobs/{}", digest_of(&layer));
    registry.deed(&path, deed);
    path
}

#[tokio::test]
async fn the_same_faults_have_the_same_ends() {
    let (whole, length) = (layer(), layer().len());
    let says_length = format!("the manifest says {length}");
    let once = |first: Deed| Deed::InTurn(vec![first, Deed::Send(layer())]);
    let rows = [
        ("stalls", Deed::Stall(whole.clone(), 2_000), Some("no data came for too long")),
        ("stalls once", once(Deed::Stall(whole.clone(), 2_000)), None),
        ("is cut each time", Deed::Cut(whole.clone(), 2_000), Some("end")),
        ("is cut once", once(Deed::Cut(whole.clone(), 2_000)), None),
        ("claims to be longer", Deed::Claim(whole.clone(), length as u64 + 1), Some(&says_length)),
        ("claims to be shorter", Deed::Claim(whole[..10].to_vec(), 10), Some(&says_length)),
        ("has no end", Deed::Endless, Some(&says_length)),
        ("has other content", Deed::Send(vec![b'x'; length]), Some("verification failed")),
        ("401", status(401), Some("a login of a kind that is not known")),
        ("429 for long", says(429, "Retry-After: 999"), Some("toomanyrequests")),
        ("429 once", once(says(429, "Retry-After: 0")), None),
        ("500 for ever", status(500), Some("unexpected status 500")),
        ("500 once", once(status(500)), None),
    ];
    for (name, deed, words) in rows {
        let (store, registry) = (Store::new(), Hostile::start().await);
        let path = offer(&registry, deed);
        match (registry.pull(&store, None).await, words) {
            (Ok(_), None) => {}
            (Err(error), Some(words)) => {
                assert!(error.contains(words), "{name}: {error}");
                assert_eq!((store.images.count(), store.files()), (0, vec![]), "{name}: nothing of it stays");
                registry.deed(&path, Deed::Send(layer()));
                registry.pull(&store, None).await.unwrap_or_else(|error| panic!("{name}: afterwards: {error}"));
            }
            (found, wanted) => panic!("{name}: {found:?}, and not {wanted:?}"),
        }
        assert_eq!(store.images.count(), 1, "{name}");
    }
}
