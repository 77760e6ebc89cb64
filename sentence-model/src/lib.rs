//! Vectors of sentences by a model of the BERT family, in a folder as sentence-transformers writes it: tokens, layers, and one vector of
//! them, as the folder's own files say. A crate of its own, so that it is built and held to its reference without the gateway.
//!
//! The rule: a folder is read whole and checked when it is loaded; what cannot be done as the folder says is an error then, and not
//! another vector later.
#![cfg(feature = "runtime")]

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use tokenizers::{Tokenizer, TruncationParams};

/// Tokens of a text where the folder does not say.
const LONGEST: usize = 256;

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model").finish_non_exhaustive()
    }
}

/// A model and how its vectors are made.
pub struct Model {
    tokenizer: Tokenizer,
    bert: BertModel,
    pooling: Pooling,
}

/// What of the tokens' vectors is that of the text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pooling {
    /// Their mean.
    Mean,
    /// That of the first one.
    First,
}

/// `modules.json`: what is done one after another.
#[derive(Deserialize)]
struct Module {
    path: String,
    r#type: String,
}

/// `1_Pooling/config.json`.
#[derive(Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "that is how the file says it")]
struct PoolingConfig {
    #[serde(default)]
    pooling_mode_cls_token: bool,
    #[serde(default)]
    pooling_mode_mean_tokens: bool,
    #[serde(default)]
    pooling_mode_max_tokens: bool,
    #[serde(default)]
    pooling_mode_mean_sqrt_len_tokens: bool,
    #[serde(default)]
    pooling_mode_weightedmean_tokens: bool,
    #[serde(default)]
    pooling_mode_lasttoken: bool,
}

/// `sentence_bert_config.json`.
#[derive(Default, Deserialize)]
struct SentenceConfig {
    #[serde(default)]
    max_seq_length: Option<usize>,
    #[serde(default)]
    do_lower_case: bool,
}

impl Model {
    /// Reads a folder, and makes a digest of all that its vectors depend on. Blocks for some tenths of a second, and keeps as much memory
    /// as the weights take.
    ///
    /// # Errors
    /// What is missing or cannot be done, in words.
    pub fn load(folder: &Path) -> Result<(Self, [u8; 32]), String> {
        let mut files = Files { folder, hash: Sha256::new() };
        let pooling = pooling(&mut files)?;
        let config: Config = files.json("config.json")?;
        if config.model_type.as_deref().is_some_and(|kind| kind != "bert") {
            return Err(files.told("config.json", "its `model_type` is not `bert`, which is what can be run here"));
        }
        let sentence: SentenceConfig = files.json_if_there("sentence_bert_config.json")?.unwrap_or_default();
        if sentence.do_lower_case {
            return Err(files.told("sentence_bert_config.json", "`do_lower_case` is not done here"));
        }
        let longest = sentence.max_seq_length.unwrap_or(LONGEST).min(config.max_position_embeddings);
        let tokenizer = tokenizer(&mut files, longest)?;
        let weights = files.bytes("model.safetensors")?;
        let failed = |fault: candle_core::Error| format!("`{}`: {fault}", folder.join("model.safetensors").display());
        let variables = VarBuilder::from_buffered_safetensors(weights, DType::F32, &Device::Cpu).map_err(failed)?;
        let bert = BertModel::load(variables, &config).map_err(failed)?;
        let model = Self { tokenizer, bert, pooling };
        // Sizes that do not fit together are found out now.
        model.vector("a")?;
        Ok((model, files.hash.finalize().into()))
    }

    /// What the model says of a text, at length 1; of a long one, of its beginning. Blocks for some milliseconds, on several threads.
    ///
    /// # Errors
    /// The model fails, in words that hold nothing of the text.
    pub fn vector(&self, text: &str) -> Result<Vec<f32>, String> {
        let tokens = self.tokenizer.encode_fast(text, true).map_err(|_| "the text has no tokens".to_owned())?;
        self.pooled(tokens.get_ids()).map_err(|fault| format!("the model failed: {fault}"))
    }

    fn pooled(&self, ids: &[u32]) -> candle_core::Result<Vec<f32>> {
        let ids = Tensor::new(ids, &Device::Cpu)?.unsqueeze(0)?;
        let all = self.bert.forward(&ids, &ids.zeros_like()?, None)?.squeeze(0)?;
        let one = match self.pooling {
            Pooling::Mean => all.mean(0)?,
            Pooling::First => all.get(0)?,
        };
        let mut numbers = one.to_vec1::<f32>()?;
        let length = numbers.iter().map(|number| number * number).sum::<f32>().sqrt();
        numbers.iter_mut().for_each(|number| *number /= length);
        Ok(numbers)
    }
}

/// The folder, of which all that is read goes into the digest.
struct Files<'f> {
    folder: &'f Path,
    hash: Sha256,
}

impl Files<'_> {
    fn told(&self, name: &str, what: impl std::fmt::Display) -> String {
        format!("`{}`: {what}", self.folder.join(name).display())
    }

    fn bytes(&mut self, name: &str) -> Result<Vec<u8>, String> {
        let bytes = std::fs::read(self.folder.join(name)).map_err(|fault| self.told(name, fault))?;
        self.hash.update(name.as_bytes());
        self.hash.update(Sha256::digest(&bytes));
        Ok(bytes)
    }

    fn json<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, String> {
        let bytes = self.bytes(name)?;
        serde_json::from_slice(&bytes).map_err(|fault| self.told(name, fault))
    }

    fn json_if_there<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>, String> {
        if self.folder.join(name).exists() { self.json(name).map(Some) } else { Ok(None) }
    }
}

/// What `modules.json` says; without one the mean, as sentence-transformers does.
fn pooling(files: &mut Files<'_>) -> Result<Pooling, String> {
    let Some(modules) = files.json_if_there::<Vec<Module>>("modules.json")? else { return Ok(Pooling::Mean) };
    let mut pooling = Pooling::Mean;
    for (module, place) in modules.iter().zip(0..) {
        match (place, module.r#type.rsplit('.').next().unwrap_or_default()) {
            // Vectors are made of length 1 whether the folder asks for it or not: what counts is their direction.
            (0, "Transformer") | (2, "Normalize") => {}
            (1, "Pooling") => {
                let name = format!("{}/config.json", module.path);
                let said: PoolingConfig = files.json(&name)?;
                let strange = said.pooling_mode_max_tokens
                    || said.pooling_mode_mean_sqrt_len_tokens
                    || said.pooling_mode_weightedmean_tokens
                    || said.pooling_mode_lasttoken;
                pooling = match (said.pooling_mode_mean_tokens, said.pooling_mode_cls_token) {
                    (true, false) if !strange => Pooling::Mean,
                    (false, true) if !strange => Pooling::First,
                    _ => return Err(files.told(&name, "only the mean of tokens, or the first one, is taken here")),
                };
            }
            _ => return Err(files.told("modules.json", format!("`{}` is not done here", module.r#type))),
        }
    }
    Ok(pooling)
}

/// Without padding, since texts come one by one, and cut where the model ends.
fn tokenizer(files: &mut Files<'_>, longest: usize) -> Result<Tokenizer, String> {
    let bytes = files.bytes("tokenizer.json")?;
    let mut tokenizer = Tokenizer::from_bytes(bytes).map_err(|fault| files.told("tokenizer.json", fault))?;
    let cut = TruncationParams { max_length: longest, ..TruncationParams::default() };
    tokenizer.with_truncation(Some(cut)).map_err(|fault| files.told("tokenizer.json", fault))?;
    tokenizer.with_padding(None);
    Ok(tokenizer)
}
