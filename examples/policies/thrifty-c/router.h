/* Write a router for Witgate in C: define the four functions at the end of this file. */
#ifndef WITGATE_ROUTER_H
#define WITGATE_ROUTER_H

#include "witgate.h"

/* What never changes while an instance lives. Prices are US dollars per million tokens. */
typedef struct {
  witgate_text id, provider, model;
  witgate_texts tags;
  witgate_maybe_f64 weight;
  uint32_t order;
  witgate_maybe_f64 input_price, output_price;
  witgate_maybe_u32 context_window;
  witgate_maybe_u64 rpm, tpm, itpm, otpm;
} witgate_deployment;

/* What a router begins with; it stays readable for as long as the instance lives. */
typedef struct {
  witgate_text settings; /* A JSON object. */
  uint64_t seed;         /* The instance's own. */
  bool has_state;
  witgate_state state;   /* Ignore a schema you do not know. */
  const witgate_deployment *deployments;
  size_t deployment_count;
} witgate_setup;

/* What a router wants to be told: lists of names that end with NULL. */
typedef struct {
  const char *const *signals, *const *features, *const *attributes;
  bool exact_tokens; /* false: `input_tokens` may be an upper bound that cost no counting. */
  bool pure;         /* true: answers depend on their arguments alone, so several instances may serve at once. */
} witgate_needs;

/* The input tokens are what the model reads, counted (exact), or what it cannot exceed (bound); neither: an estimate. */
enum {
  WITGATE_STREAMING = 1,
  WITGATE_TOOLS = 2,
  WITGATE_IMAGES = 4,
  WITGATE_JSON = 8,
  WITGATE_INPUT_EXACT = 16,
  WITGATE_INPUT_BOUND = 32
};

typedef struct {
  uint64_t now_ms, seed;
  uint32_t input_tokens, expected_output_tokens;
  witgate_maybe_u32 max_output_tokens;
  int32_t priority; /* Lower is more urgent. */
  witgate_maybe_u32 deadline_ms;
  uint32_t traits;
  const float *features;          /* One for each asked for; NaN where unknown. */
  const witgate_text *attributes; /* One for each asked for; empty where absent. */
} witgate_request;

/* What is known of each deployment at this moment; `names` are the columns', as they were asked for. */
typedef struct { const float *values; size_t columns, rows; const char *const *names; } witgate_signals;

/* The signal of this index, in the order in which they were asked for: one number for each deployment, NaN where unknown. */
const float *witgate_column(const witgate_signals *signals, size_t column);
/* One cell; `other` where it is unknown. */
float witgate_at_or(const witgate_signals *signals, size_t column, size_t row, float other);

/* The column of this name; NULL where it was not asked for. */
const float *witgate_named(const witgate_signals *signals, const char *name);
/* What is known of one deployment: the signal of this name; NaN where it is unknown. */
typedef struct { const witgate_signals *signals; size_t index; } witgate_row;
float witgate_of(witgate_row row, const char *name);

/* Fill `deployments`, best first; there is room for one of each. `propensities` may stay 0: nothing was drawn. */
typedef struct {
  uint32_t *deployments;
  size_t count;
  float *propensities; /* Filled by a policy that draws, which sets `drawn`. */
  bool drawn;
  bool wait; /* Set it to be asked again in `wait_ms`. */
  uint32_t wait_ms;
  const char *reject; /* Set it to end the request in these words, which needs a grant. */
} witgate_answer;

/* Ranks by a score for each deployment, the lowest first; NaN counts as infinite, of equals the first comes first. */
void witgate_rank(const double *scores, size_t count, witgate_answer *answer);

enum { WITGATE_RATE_LIMITED, WITGATE_UNAVAILABLE, WITGATE_TIMED_OUT, WITGATE_REJECTED, WITGATE_BROKEN_STREAM, WITGATE_CANCELLED };

/* How an attempt ended. */
typedef struct {
  uint64_t seed;
  uint32_t attempt, deployment;
  bool failed;
  uint32_t fault; /* Where it failed. */
  uint32_t input_tokens, output_tokens;
  double cost_usd; /* NaN where the price is unknown. */
  float latency_ms;
  float ttft_ms, quality; /* NaN where unknown. */
} witgate_outcome;

/* What a policy defines. */

/* The first call. NULL, or one sentence about a setting that makes no sense. */
const char *policy_configure(const witgate_setup *setup, witgate_needs *needs);
void policy_route(const witgate_request *request, const witgate_signals *signals, witgate_answer *answer);
void policy_observe(const witgate_outcome *outcome);
/* Whether there is something that a successor or the next start should know. */
bool policy_save(witgate_state *state);

#endif
