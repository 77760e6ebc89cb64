//! Models that make vectors of sentences, run in this process by the crate `sentence-model`. Of a build without the feature `sentence-transformers` nothing can be loaded.

use std::fmt;
use std::path::Path;

#[cfg(feature = "sentence-transformers")]
use sentence_model::Model;

/// The cargo feature without which no folder can be read.
pub const FEATURE: &str = "sentence-transformers";

/// A loaded model.
pub struct Sentences {
    #[cfg(feature = "sentence-transformers")]
    model: Model,
    fingerprint: [u8; 32],
}

impl fmt::Debug for Sentences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sentences").finish_non_exhaustive()
    }
}

impl Sentences {
    /// Reads a folder. Blocks for some tenths of a second, and keeps as much memory as its weights take.
    ///
    /// # Errors
    /// What is missing or cannot be done, in words.
    #[cfg(feature = "sentence-transformers")]
    pub fn load(folder: &Path) -> Result<Self, String> {
        let (model, fingerprint) = Model::load(folder)?;
        Ok(Self { model, fingerprint })
    }

    /// Says that it cannot.
    ///
    /// # Errors
    /// Always: this build has no runtime for it.
    #[cfg(not(feature = "sentence-transformers"))]
    pub fn load(folder: &Path) -> Result<Self, String> {
        Err(format!("`{}` cannot be read: this build lacks the cargo feature `{FEATURE}`", folder.display()))
    }

    /// What the model says of a text, at length 1. Blocks for some milliseconds, on several threads.
    ///
    /// # Errors
    /// The model fails, in words that hold nothing of the text.
    #[cfg(feature = "sentence-transformers")]
    pub fn vector(&self, text: &str) -> Result<Vec<f32>, String> {
        self.model.vector(text)
    }

    /// There is none.
    ///
    /// # Errors
    /// Always: this build has no runtime for it.
    #[cfg(not(feature = "sentence-transformers"))]
    pub fn vector(&self, _text: &str) -> Result<Vec<f32>, String> {
        Err(format!("this build lacks the cargo feature `{FEATURE}`"))
    }

    /// A digest of all that its vectors depend on.
    #[must_use]
    pub const fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }
}
