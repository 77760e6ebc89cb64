/* Between the gateway and a router's four functions: ranking, and the calls as the component model's canonical ABI spells them. */
#include "router.h"

#include <string.h>

/* Signals and ranking. */

const float *witgate_column(const witgate_signals *signals, size_t column) {
  return signals->values + column * signals->rows;
}

float witgate_at_or(const witgate_signals *signals, size_t column, size_t row, float other) {
  float value = signals->values[column * signals->rows + row];
  return value == value ? value : other;
}

const float *witgate_named(const witgate_signals *signals, const char *name) {
  for (size_t column = 0; signals->names && column < signals->columns; column++)
    if (strcmp(signals->names[column], name) == 0) return witgate_column(signals, column);
  return NULL;
}

float witgate_of(witgate_row row, const char *name) {
  const float *column = witgate_named(row.signals, name);
  return column ? column[row.index] : __builtin_nanf("");
}

/* Bits that compare as the scores do. */
static uint64_t ordered(double score) {
  if (score != score) score = 1.0 / 0.0;
  score += 0.0; /* Both zeros are one. */
  uint64_t bits;
  memcpy(&bits, &score, sizeof bits);
  return bits ^ ((uint64_t)((int64_t)bits >> 63) | 1ull << 63);
}

static void in_order(uint64_t *one, uint64_t *other) {
  uint64_t low = *one < *other ? *one : *other, high = *one < *other ? *other : *one;
  *one = low, *other = high;
}

/* Sorts up to eight without a branch that the processor cannot foresee. Eight are read and written whatever `count` is. */
static void sort_few(const uint64_t *from, size_t count, uint64_t *to) {
  uint64_t a = from[0], b = from[1], c = from[2], d = from[3], e = from[4], f = from[5], g = from[6], h = from[7];
  if (count < 8) {
    h = -1ull, g = count < 7 ? -1ull : g, f = count < 6 ? -1ull : f, e = count < 5 ? -1ull : e;
    d = count < 4 ? -1ull : d, c = count < 3 ? -1ull : c, b = count < 2 ? -1ull : b;
  }
  in_order(&a, &c), in_order(&b, &d), in_order(&e, &g), in_order(&f, &h);
  in_order(&a, &e), in_order(&b, &f), in_order(&c, &g), in_order(&d, &h);
  in_order(&a, &b), in_order(&c, &d), in_order(&e, &f), in_order(&g, &h);
  in_order(&c, &e), in_order(&d, &f);
  in_order(&b, &e), in_order(&d, &g);
  in_order(&b, &c), in_order(&d, &e), in_order(&f, &g);
  to[0] = a, to[1] = b, to[2] = c, to[3] = d, to[4] = e, to[5] = f, to[6] = g, to[7] = h;
}

/* Merges two sorted runs, one at most one longer than the other, from both ends at once: two chains that the processor follows beside
 * each other, and no branch that it cannot foresee. */
static void merge(const uint64_t *left, const uint64_t *middle, const uint64_t *end, uint64_t *to) {
  const uint64_t *right = middle, *last_left = middle - 1, *last_right = end - 1;
  uint64_t *last = to + (end - left) - 1;
  for (size_t pairs = (size_t)(end - left) / 2, odd = (size_t)(end - left) % 2; ; pairs--) {
    if (pairs == 0) {
      if (odd) *to = left <= last_left ? *left : *right;
      return;
    }
    uint64_t one = *left, other = *right;
    bool second = other < one;
    *to++ = second ? other : one;
    right += second, left += !second;
    one = *last_left, other = *last_right;
    second = other < one;
    *last-- = second ? one : other;
    last_left -= second, last_right -= !second;
  }
}

void witgate_rank(const double *scores, size_t count, witgate_answer *answer) {
  /* The first bits of each score with the index in the place of the last ones: whole numbers sort faster. */
  uint64_t *spare = witgate_take(2 * (count + 8) * sizeof *spare), *keys = spare + count + 8, mask = 1;
  while (mask < count) mask = mask << 1 | 1;
  for (size_t index = 0; index < count; index++) spare[index] = (ordered(scores[index]) & ~mask) | index;
  /* As many runs as make the longest have eight at most, all of about one length; then half as many, until there is one. */
  unsigned level = 0;
  while (count > (size_t)8 << level) level++;
  for (size_t run = 0; run < (size_t)1 << level; run++) {
    size_t start = run * count >> level;
    sort_few(spare + start, ((run + 1) * count >> level) - start, keys + start);
  }
  for (; level > 0; level--) {
    for (size_t run = 0; run < (size_t)1 << level; run += 2)
      merge(keys + (run * count >> level), keys + ((run + 1) * count >> level), keys + ((run + 2) * count >> level),
            spare + (run * count >> level));
    uint64_t *sorted = spare;
    spare = keys;
    keys = sorted;
  }
  uint32_t *ranking = answer->deployments;
  for (size_t next = 0; next < count; next++) {
    uint32_t index = (uint32_t)(keys[next] & mask);
    size_t place = next;
    /* Scores that differ in their last bits only are put right here; infinite ones and those that are none have others like them alone. */
    if (next > 0 && (keys[next] ^ keys[next - 1]) <= mask)
      for (; place > 0 && scores[ranking[place - 1]] > scores[index]; place--) ranking[place] = ranking[place - 1];
    ranking[place] = index;
  }
  answer->count = count;
}

/* The calls. */

#ifdef __wasm__

#define EXPORT(name) __attribute__((export_name(name)))

static witgate_setup setup;
static witgate_needs needs;
static size_t columns;

typedef struct {
  uint32_t failed;
  union {
    struct { witgate_texts signals, features, attributes; bool exact_tokens, pure; } needs;
    witgate_text words;
  };
} needs_or_words;

EXPORT("witgate:policy/routing@0.1.0#start")
needs_or_words *start(const witgate_deployment *deployments, size_t count) {
  static needs_or_words answer;
  witgate_begin();
  setup = (witgate_setup){witgate_given.settings, witgate_given.seed, witgate_given.has_state, witgate_given.state, deployments, count};
  const char *problem = policy_configure(&setup, &needs);
  if (problem) {
    answer.failed = 1;
    answer.words = (witgate_text){problem, strlen(problem)};
    return &answer;
  }
  answer.needs.signals = witgate_listed(needs.signals);
  answer.needs.features = witgate_listed(needs.features);
  answer.needs.attributes = witgate_listed(needs.attributes);
  answer.needs.exact_tokens = needs.exact_tokens;
  answer.needs.pure = needs.pure;
  columns = answer.needs.signals.length;
  witgate_keep();
  return &answer;
}

typedef struct {
  uint32_t failed;
  union {
    struct { const uint32_t *deployments; size_t count; const float *propensities; size_t drawn; } ranking;
    struct { uint32_t kind; union { uint32_t wait_ms; witgate_text words; }; } refusal;
  };
} ranking_or_refusal;

EXPORT("witgate:policy/routing@0.1.0#route")
ranking_or_refusal *route(uint64_t now_ms, uint64_t seed, uint32_t input_tokens, uint32_t expected_output_tokens,
                          int32_t has_most, uint32_t most, int32_t priority, int32_t has_deadline, uint32_t deadline_ms,
                          uint32_t traits, const float *values, size_t cells, const float *facts, size_t fact_count,
                          const witgate_text *texts, size_t text_count) {
  static ranking_or_refusal result;
  witgate_begin();
  (void)cells, (void)fact_count, (void)text_count;
  size_t rows = setup.deployment_count;
  witgate_request request = {now_ms, seed, input_tokens, expected_output_tokens, {has_most, most}, priority,
                             {has_deadline, deadline_ms}, traits, facts, texts};
  witgate_signals signals = {values, columns, rows, needs.signals};
  witgate_answer answer = {.deployments = witgate_take(rows * sizeof(uint32_t)), .propensities = witgate_take(rows * sizeof(float))};
  policy_route(&request, &signals, &answer);
  witgate_end();
  if (answer.reject) {
    result.failed = 1;
    result.refusal.kind = 1;
    result.refusal.words = (witgate_text){answer.reject, strlen(answer.reject)};
  } else if (answer.wait) {
    result.failed = 1;
    result.refusal.kind = 0;
    result.refusal.wait_ms = answer.wait_ms;
  } else {
    result.failed = 0;
    result.ranking.deployments = answer.deployments;
    result.ranking.count = answer.count;
    result.ranking.propensities = answer.propensities;
    result.ranking.drawn = answer.drawn ? answer.count : 0;
  }
  return &result;
}

EXPORT("witgate:policy/routing@0.1.0#observe")
void observe(uint64_t seed, uint32_t attempt, uint32_t deployment, int32_t failed, uint32_t fault, uint32_t input_tokens,
             uint32_t output_tokens, double cost_usd, float latency_ms, int32_t has_ttft, float ttft_ms,
             int32_t has_quality, float quality) {
  witgate_begin();
  float unknown = __builtin_nanf("");
  witgate_outcome outcome = {seed, attempt, deployment, failed, fault, input_tokens, output_tokens, cost_usd, latency_ms,
                             has_ttft ? ttft_ms : unknown, has_quality ? quality : unknown};
  policy_observe(&outcome);
  witgate_end();
}

EXPORT("witgate:policy/lifecycle@0.1.0#save")
void *save(void) {
  static struct { uint32_t some; witgate_state state; } answer;
  witgate_begin();
  answer.some = policy_save(&answer.state);
  witgate_end();
  return &answer;
}

#endif
