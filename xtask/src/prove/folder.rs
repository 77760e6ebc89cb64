//! The files a gateway watches, changed as people and pipelines change them: written aside and renamed, good ones
//! and bad ones.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// The version in the name of the interface a component exports, and one that no host knows.
const VERSION: (&[u8], &[u8]) = (b"witgate:policy/routing@0.1.0", b"witgate:policy/routing@0.9.0");

/// How a policy file can be bad.
#[derive(Clone, Copy, Debug)]
pub(super) enum Bad {
    /// Not a component at all.
    Broken,
    /// The first half of a good one.
    Truncated,
    /// One that speaks a version of the interface that is not known.
    WrongVersion,
}

impl Bad {
    pub(super) const ALL: [Self; 3] = [Self::Broken, Self::Truncated, Self::WrongVersion];
}

/// A configuration and a folder of policies.
pub(super) struct Folder {
    place: TempDir,
    upstream: SocketAddr,
    /// Two policies that count outcomes; they prefer different deployments.
    pub(super) policies: [Vec<u8>; 2],
}

impl Folder {
    /// A folder whose gateway is decided for by the first policy.
    pub(super) fn new(root: &Path, upstream: SocketAddr) -> Result<Self, String> {
        let read = |name: &str| {
            let path = root.join("tests/fixtures/policies").join(name);
            fs::read(&path).map_err(|problem| format!("{}: {problem}\nhint: cargo xtask policies", path.display()))
        };
        let policies = [read("counting-a.wasm")?, read("counting-b.wasm")?];
        let failed = |problem: std::io::Error| format!("no folder to work in: {problem}");
        let place = tempfile::tempdir().map_err(failed)?;
        fs::create_dir(place.path().join("policies")).map_err(failed)?;
        let folder = Self { place, upstream, policies };
        folder.put_policy(&folder.policies[0])?;
        folder.put_config(0)?;
        Ok(folder)
    }

    pub(super) fn config(&self) -> PathBuf {
        self.place.path().join("config.yaml")
    }

    pub(super) fn policies(&self) -> PathBuf {
        self.place.path().join("policies")
    }

    pub(super) fn cache(&self) -> PathBuf {
        self.place.path().join("cache")
    }

    pub(super) fn put_policy(&self, bytes: &[u8]) -> Result<(), String> {
        self.put("policies/counting.wasm", bytes)
    }

    /// Puts a bad file in the policy's place.
    pub(super) fn put_bad(&self, bad: Bad) -> Result<(), String> {
        let good = &self.policies[0];
        match bad {
            Bad::Broken => self.put_policy(b"this is not WebAssembly"),
            Bad::Truncated => self.put_policy(&good[..good.len() / 2]),
            Bad::WrongVersion => self.put_policy(&replaced(good, VERSION.0, VERSION.1)?),
        }
    }

    /// A good configuration, of which no two of different `edition` are alike.
    pub(super) fn put_config(&self, edition: usize) -> Result<(), String> {
        let upstream = self.upstream;
        let deployment = |id| {
            format!(
                "  - model_name: paced
    litellm_params: {{ model: openai/paced, api_base: \"http://{upstream}/v1\", api_key: sk-proof, tpm: {} }}
    model_info: {{ id: {id} }}\n",
                1_000_000_000 + edition
            )
        };
        let [first, last] = ["first", "last"].map(deployment);
        let text = format!("model_list:\n{first}{last}witgate:\n  routers:\n    paced: {{ policy: counting }}\n");
        self.put("config.yaml", text.as_bytes())
    }

    /// A configuration that cannot be read.
    pub(super) fn put_bad_config(&self) -> Result<(), String> {
        self.put("config.yaml", b"model_list: [{ model_name: paced, litellm_params: { model: ")
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), String> {
        let path = self.place.path().join(name);
        let aside = path.with_extension("tmp");
        let put = fs::write(&aside, bytes).and_then(|()| fs::rename(&aside, &path));
        put.map_err(|problem| format!("{}: {problem}", path.display()))
    }
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Result<Vec<u8>, String> {
    let mut bytes = bytes.to_vec();
    let places: Vec<usize> =
        bytes.windows(from.len()).enumerate().filter(|(_, window)| *window == from).map(|(at, _)| at).collect();
    if places.is_empty() {
        return Err("the component does not name the interface it exports".to_owned());
    }
    for at in places {
        bytes[at..at + to.len()].copy_from_slice(to);
    }
    Ok(bytes)
}
