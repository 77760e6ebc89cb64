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

/* The first bits of what orders scores: one that is no number is infinite, and both zeros are one. */
static uint32_t first_bits(const double *score) {
  uint32_t bits;
  memcpy(&bits, (const char *)score + sizeof bits, sizeof bits);
  bits = (bits & INT32_MAX) > 0x7ff00000 ? 0x7ff00000 : bits;
  bits = bits == 1u << 31 ? 0 : bits;
  return bits ^ ((uint32_t)((int32_t)bits >> 31) | 1u << 31);
}

/* Four numbers that are compared at once. What is to be sorted stands in rows of them and goes down the first column, then down the second.
 * Which pairs are compared does not depend on the numbers, so there is no branch that the processor cannot foresee. */
typedef uint32_t lanes __attribute__((vector_size(16), may_alias));
/* In one large function with all else there would be too few registers for loops like these. */
#define APART __attribute__((noinline))
#define TURNED(from, a, b, c, d) __builtin_shufflevector(from, from, a, b, c, d)

static lanes least(lanes one, lanes other) {
  lanes less = (lanes)(one < other);
  return (one & less) | (other & ~less);
}

static lanes most(lanes one, lanes other) {
  lanes less = (lanes)(one < other);
  return (other & less) | (one & ~less);
}

static void in_order(lanes *one, lanes *other) {
  lanes low = least(*one, *other);
  *other = most(*one, *other), *one = low;
}

/* Sorts every column of eight rows. */
static void sort_eight(lanes *rows) {
  lanes a = rows[0], b = rows[1], c = rows[2], d = rows[3], e = rows[4], f = rows[5], g = rows[6], h = rows[7];
  in_order(&a, &c), in_order(&b, &d), in_order(&e, &g), in_order(&f, &h);
  in_order(&a, &e), in_order(&b, &f), in_order(&c, &g), in_order(&d, &h);
  in_order(&a, &b), in_order(&c, &d), in_order(&e, &f), in_order(&g, &h);
  in_order(&c, &e), in_order(&d, &f);
  in_order(&b, &e), in_order(&d, &g);
  in_order(&b, &c), in_order(&d, &e), in_order(&f, &g);
  rows[0] = a, rows[1] = b, rows[2] = c, rows[3] = d, rows[4] = e, rows[5] = f, rows[6] = g, rows[7] = h;
}

/* Eight rows. What a loop does it does to whole blocks: each turn of a loop costs as much as several rows. */
typedef struct { lanes rows[8]; } block;
#define EACH_ROW _Pragma("clang loop unroll(full)") for (size_t row = 0; row < 8; row++)

static void exchange(block *one, block *other) { EACH_ROW in_order(one->rows + row, other->rows + row); }

/* One of the two upside down. */
static void exchange_turned(block *one, block *other) { EACH_ROW in_order(one->rows + row, other->rows + 7 - row); }

/* Puts columns in order of which each falls after it rises: blocks half as far apart each time. */
APART static void settle(block *blocks, size_t count, size_t apart) {
  for (; apart; apart /= 2)
    for (size_t both = 0; both < count; both += 2 * apart)
      for (size_t at = both; at < both + apart; at++) exchange(blocks + at, blocks + at + apart);
  for (block *at = blocks; at < blocks + count; at++) {
    lanes a = at->rows[0], b = at->rows[1], c = at->rows[2], d = at->rows[3], e = at->rows[4], f = at->rows[5], g = at->rows[6], h = at->rows[7];
    in_order(&a, &e), in_order(&b, &f), in_order(&c, &g), in_order(&d, &h);
    in_order(&a, &c), in_order(&b, &d), in_order(&e, &g), in_order(&f, &h);
    in_order(&a, &b), in_order(&c, &d), in_order(&e, &f), in_order(&g, &h);
    *at = (block){{a, b, c, d, e, f, g, h}};
  }
}

/* A column with its neighbour: from above with from below. */
static void merge_neighbours(lanes *one, lanes *other) {
  lanes turned = TURNED(*other, 1, 0, 3, 2), low = least(*one, turned), high = most(*one, turned);
  *one = __builtin_shufflevector(low, high, 0, 5, 2, 7);
  *other = __builtin_shufflevector(low, high, 1, 4, 3, 6);
}

/* Two columns with the other two, in the same way. */
static void merge_halves(lanes *one, lanes *other) {
  lanes turned = TURNED(*other, 3, 2, 1, 0), low = least(*one, turned), high = most(*one, turned);
  *one = __builtin_shufflevector(low, high, 0, 1, 6, 7);
  *other = __builtin_shufflevector(low, high, 3, 2, 5, 4);
}

/* Sorts what stands in 1, 2, 4 ... blocks. */
APART static void sort(block *blocks, size_t count) {
  for (size_t at = 0; at < count; at++) sort_eight(blocks[at].rows);
  for (size_t merged = 2; merged <= count; merged *= 2) {
    for (size_t both = 0; both < count; both += merged)
      for (size_t at = 0; at < merged / 2; at++) exchange_turned(blocks + both + at, blocks + both + merged - 1 - at);
    settle(blocks, count, merged / 4);
  }
  lanes *rows = blocks->rows;
  size_t last = 8 * count - 1;
#pragma clang loop unroll_count(4)
  for (size_t row = 0; row < 4 * count; row++) merge_neighbours(rows + row, rows + last - row);
  settle(blocks, count, count / 2);
#pragma clang loop unroll_count(4)
  for (size_t row = 0; row < 4 * count; row++) merge_halves(rows + row, rows + last - row);
  for (size_t at = 0; at < count; at++) EACH_ROW {
    lanes own = blocks[at].rows[row], other = TURNED(own, 1, 0, 3, 2);
    blocks[at].rows[row] = __builtin_shufflevector(least(own, other), most(own, other), 0, 5, 2, 7);
  }
  settle(blocks, count, count / 2);
}

APART void witgate_rank(const double *scores, size_t count, witgate_answer *answer) {
  size_t rows = 8, mask = 1;
  while (4 * rows < count) rows *= 2;
  while (mask < count) mask = mask << 1 | 1;
  uint32_t *keys = witgate_take(4 * rows * sizeof *keys), *ranking = answer->deployments;
  /* The first bits of each score with the index in the place of the last ones. */
  for (size_t index = 0; index < count; index++) keys[index] = (first_bits(scores + index) & ~(uint32_t)mask) | (uint32_t)index;
  for (size_t index = count; index < 4 * rows; index++) keys[index] = UINT32_MAX;
  sort((block *)keys, rows / 8);
  for (size_t column = 0, place = 0; place < count; column++)
    for (size_t row = 0; row < rows && place < count; row++) ranking[place++] = keys[4 * row + column] & (uint32_t)mask;
  answer->count = count;
  /* Scores may differ in their last bits only. Infinite ones, and those that are none, have others like them alone. */
  unsigned wrong = 0;
  for (size_t place = 1; place < count; place++) wrong |= scores[ranking[place - 1]] > scores[ranking[place]];
  for (size_t next = 1; wrong && next < count; next++) {
    uint32_t index = ranking[next];
    size_t place = next;
    for (; place > 0 && scores[ranking[place - 1]] > scores[index]; place--) ranking[place] = ranking[place - 1];
    ranking[place] = index;
  }
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
