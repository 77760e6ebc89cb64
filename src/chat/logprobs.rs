//! How likely a model found each token of a reply.

/// One token of a reply, and what might have stood in its place.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogprob {
    /// The token that was chosen.
    pub chosen: ScoredToken,
    /// The likeliest ones for its place, best first; empty where none were asked for.
    pub likeliest: Vec<ScoredToken>,
}

/// A token and how likely it was.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoredToken {
    /// Its text, as the provider writes it.
    pub text: String,
    /// The natural logarithm of its probability: 0 is certain.
    pub logprob: f64,
}
