//! What is served where no file says anything: the simulated provider, and a group for each of the main models
//! of every provider whose key is in the environment. It is a file like any other, read by the same code.

use std::fmt::Write as _;

use super::models;

/// What problems and reports call the built-in configuration.
pub(super) const FILE: &str = "(built in)";

/// The simulated group: a model of medium size as providers serve them today.
const SIMULATED_GROUP: &str = "\
model_list:
  - model_name: simulated
    litellm_params:
      model: simulated/talker
      simulated: { ttft_ms: 350, ttft_sigma: 0.35, tokens_per_second: 80, output_tokens: 120 }
";

/// Providers whose own models are offered, and the variable that holds their key.
const OFFERED: [(&str, &str); 2] = [("openai", "OPENAI_API_KEY"), ("anthropic", "ANTHROPIC_API_KEY")];

/// The built-in configuration as YAML.
pub(super) fn text(env: &dyn Fn(&str) -> Option<String>) -> String {
    let mut out = SIMULATED_GROUP.to_owned();
    for (provider, variable) in OFFERED {
        if env(variable).is_none_or(|key| key.trim().is_empty()) {
            continue;
        }
        for model in models::offered(provider) {
            // Writing to a string cannot fail.
            let _ = writeln!(
                out,
                "  - model_name: {model}\n    litellm_params: {{ model: {provider}/{model}, api_key: os.environ/{variable} }}"
            );
        }
    }
    out
}
