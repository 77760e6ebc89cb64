/* Between the gateway and a policy's four functions: memory, settings, ranking, and the calls as the component model's
 * canonical ABI spells them. */
#include "witgate.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* Memory of one call: a block that grows, emptied when the next call begins. What the first two calls took stays. */

typedef struct block { struct block *before; size_t size, used; } block;
static block *newest;

static void *take(size_t bytes, size_t align) {
  size_t start = newest ? (newest->used + align - 1) & ~(align - 1) : 0;
  if (!newest || start + bytes > newest->size) {
    size_t size = newest ? 2 * newest->size : 16384;
    while (size < bytes + align) size *= 2;
    block *next = malloc(sizeof(block) + 16 + size);
    if (!next) abort();
    *next = (block){newest, size, 0};
    newest = next;
    start = 0;
  }
  newest->used = start + bytes;
  return (char *)(((uintptr_t)(newest + 1) + 15) & ~(uintptr_t)15) + start;
}

void *witgate_take(size_t bytes) { return memset(take(bytes, 16), 0, bytes); }

const char *witgate_join(const char *first, ...) {
  va_list texts;
  size_t length = 0;
  va_start(texts, first);
  for (const char *text = first; text; text = va_arg(texts, const char *)) length += strlen(text);
  va_end(texts);
  char *joined = witgate_take(length + 1), *end = joined;
  va_start(texts, first);
  for (const char *text = first; text; text = va_arg(texts, const char *)) {
    memcpy(end, text, strlen(text));
    end += strlen(text);
  }
  va_end(texts);
  return joined;
}

bool witgate_same(witgate_text text, const char *other) {
  return strlen(other) == text.length && memcmp(text.at, other, text.length) == 0;
}

/* Signals and ranking. */

const float *witgate_column(const witgate_signals *signals, size_t column) {
  return signals->values + column * signals->rows;
}

float witgate_at_or(const witgate_signals *signals, size_t column, size_t row, float other) {
  float value = signals->values[column * signals->rows + row];
  return value == value ? value : other;
}

/* Bits that compare as the scores do. */
static uint64_t ordered(double score) {
  if (score != score) score = 1.0 / 0.0;
  score += 0.0; /* Both zeros are one. */
  uint64_t bits;
  memcpy(&bits, &score, sizeof bits);
  return bits >> 63 ? ~bits : bits | 1ull << 63;
}

/* Merges two sorted runs without a branch that the processor cannot foresee. */
static void merge(const uint64_t *from, size_t middle, size_t end, uint64_t *to) {
  size_t left = 0, right = middle;
  while (left < middle && right < end) {
    uint64_t one = from[left], other = from[right];
    bool second = other < one;
    *to++ = second ? other : one;
    right += second;
    left += !second;
  }
  memcpy(to, from + left, (middle - left) * sizeof *to);
  memcpy(to + (middle - left), from + right, (end - right) * sizeof *to);
}

void witgate_rank(const double *scores, size_t count, witgate_answer *answer) {
  /* The first bits of each score with the index in the place of the last ones: whole numbers sort faster. */
  uint64_t *keys = take(2 * count * sizeof *keys, 8), *spare = keys + count, mask = 1;
  while (mask < count) mask = mask << 1 | 1;
  for (size_t index = 0; index < count; index++) keys[index] = (ordered(scores[index]) & ~mask) | index;
  for (size_t run = 0; run < count; run += 8)
    for (size_t next = run + 1; next < count && next < run + 8; next++) {
      uint64_t key = keys[next];
      size_t place = next;
      for (; place > run && keys[place - 1] > key; place--) keys[place] = keys[place - 1];
      keys[place] = key;
    }
  for (size_t width = 8; width < count; width *= 2) {
    for (size_t start = 0; start < count; start += 2 * width) {
      size_t left = count - start, middle = left < width ? left : width;
      merge(keys + start, middle, left < 2 * width ? left : 2 * width, spare + start);
    }
    uint64_t *sorted = spare;
    spare = keys;
    keys = sorted;
  }
  /* Scores that differ in their last bits only are put right here; there is hardly ever one. */
  for (size_t next = 0; next < count; next++) {
    uint32_t index = (uint32_t)(keys[next] & mask);
    uint64_t score = ordered(scores[index]);
    size_t place = next;
    for (; place > 0 && ordered(scores[answer->deployments[place - 1]]) > score; place--)
      answer->deployments[place] = answer->deployments[place - 1];
    answer->deployments[place] = index;
  }
  answer->count = count;
}

/* Settings. */

static const char *NO_OBJECT = "settings must be a JSON object";

static const char *skip_space(const char *at, const char *end) {
  while (at < end && (*at == ' ' || *at == '\n' || *at == '\t' || *at == '\r')) at++;
  return at;
}

/* Behind the text whose opening quote is at `at`; NULL where it does not end. */
static const char *skip_text(const char *at, const char *end) {
  for (at++; at < end && *at != '"'; at++)
    if (*at == '\\') at++;
  return at < end ? at + 1 : NULL;
}

/* Behind a value of any kind; the gateway has checked that all of it is JSON. */
static const char *skip_value(const char *at, const char *end) {
  size_t depth = 0;
  do {
    if (*at == '"') {
      at = skip_text(at, end);
      if (!at) return NULL;
      continue;
    }
    if (*at == '{' || *at == '[') depth++;
    if ((*at == '}' || *at == ']') && depth-- == 0) return at;
    if (*at == ',' && depth == 0) return at;
    at++;
  } while (at < end && (depth > 0 || (*at != ',' && *at != '}')));
  return at;
}

static const char *names(const witgate_setting *known, size_t count) {
  const char *list = known[0].name;
  for (size_t at = 1; at < count; at++) list = witgate_join(list, ", ", known[at].name, NULL);
  return list;
}

static const char *read_number(const witgate_setting *setting, const char *from, const char *to) {
  while (to > from && (to[-1] == ' ' || to[-1] == '\n' || to[-1] == '\t' || to[-1] == '\r')) to--;
  size_t length = (size_t)(to - from);
  if (length == 4 && memcmp(from, "null", 4) == 0) return NULL;
  char *digits = witgate_take(length + 1), *end;
  memcpy(digits, from, length);
  double value = strtod(digits, &end);
  bool number = length > 0 && (*from == '-' || (*from >= '0' && *from <= '9')) && *end == 0;
  if (!number || !(value >= setting->least && value <= setting->most))
    return witgate_join("setting `", setting->name, "` must be a number, ", setting->range, NULL);
  *setting->value = value;
  return NULL;
}

const char *witgate_read_settings(witgate_text json, const witgate_setting *known, size_t count) {
  const char *end = json.at + json.length, *at = skip_space(json.at, end);
  if (at == end || *at != '{') return NO_OBJECT;
  at = skip_space(at + 1, end);
  while (at < end && *at == '"') {
    const char *name = at + 1;
    if (!(at = skip_text(at, end))) return NO_OBJECT;
    witgate_text named = {name, (size_t)(at - 1 - name)};
    at = skip_space(at, end);
    if (at == end || *at != ':') return NO_OBJECT;
    const char *value = skip_space(at + 1, end);
    if (value == end || !(at = skip_value(value, end))) return NO_OBJECT;
    size_t which = 0;
    while (which < count && !witgate_same(named, known[which].name)) which++;
    if (which == count) {
      char *unknown = witgate_take(named.length + 1);
      memcpy(unknown, named.at, named.length);
      if (count == 0) return witgate_join("unknown setting `", unknown, "`; this policy has no settings", NULL);
      return witgate_join("unknown setting `", unknown, "`; this policy knows: ", names(known, count), NULL);
    }
    const char *problem = read_number(&known[which], value, at);
    if (problem) return problem;
    at = skip_space(at, end);
    if (at < end && *at == ',') at = skip_space(at + 1, end);
  }
  return at < end && *at == '}' ? NULL : NO_OBJECT;
}

/* The calls. */

#ifndef __wasm__

/* In a policy's own tests there is no gateway to write to. */
void witgate_log(int level, const char *message) { (void)level, (void)message; }

#else

#define EXPORT(name) __attribute__((export_name(name)))

__attribute__((import_module("witgate:policy/log@0.1.0"), import_name("write")))
extern void write_line(int32_t level, const char *message, size_t length);

void witgate_log(int level, const char *message) { write_line(level, message, strlen(message)); }

static bool over;

/* The largest block is kept for the next call. */
static void empty(void) {
  if (!over) return;
  over = false;
  while (newest && newest->before) {
    block *before = newest->before;
    newest->before = before->before;
    free(before);
  }
  if (newest) newest->used = 0;
}

/* Where the gateway puts what it hands over. It comes before the call itself. */
EXPORT("cabi_realloc") void *cabi_realloc(void *old, size_t old_size, size_t align, size_t size) {
  empty();
  void *place = take(size, align);
  return old ? memcpy(place, old, old_size) : place;
}

static witgate_setup setup;
static witgate_needs needs;
static size_t columns, features, attributes;

typedef struct { uint32_t failed; witgate_text words; } unit_or_words;

EXPORT("witgate:policy/lifecycle@0.1.0#configure")
unit_or_words *configure(const char *settings, size_t length, uint64_t seed, int32_t has_state, const char *schema,
                         size_t schema_length, const char *bytes, size_t bytes_length) {
  setup = (witgate_setup){{settings, length}, seed, has_state, {{schema, schema_length}, {bytes, bytes_length}}, NULL, 0};
  static unit_or_words none;
  return &none;
}

typedef struct {
  uint32_t failed;
  union {
    struct { witgate_texts signals, features, attributes; bool exact_tokens, pure; } needs;
    witgate_text words;
  };
} needs_or_words;

static witgate_texts listed(const char *const *list) {
  size_t count = 0;
  while (list && list[count]) count++;
  witgate_text *texts = witgate_take(count * sizeof *texts);
  for (size_t at = 0; at < count; at++) texts[at] = (witgate_text){list[at], strlen(list[at])};
  return (witgate_texts){texts, count};
}

EXPORT("witgate:policy/routing@0.1.0#start")
needs_or_words *start(const witgate_deployment *deployments, size_t count) {
  static needs_or_words answer;
  setup.deployments = deployments;
  setup.deployment_count = count;
  const char *problem = policy_configure(&setup, &needs);
  if (problem) {
    answer.failed = 1;
    answer.words = (witgate_text){problem, strlen(problem)};
    return &answer;
  }
  answer.needs.signals = listed(needs.signals);
  answer.needs.features = listed(needs.features);
  answer.needs.attributes = listed(needs.attributes);
  answer.needs.exact_tokens = needs.exact_tokens;
  answer.needs.pure = needs.pure;
  columns = answer.needs.signals.length;
  /* A block of its own for what comes later: what was taken until now stays. */
  newest = NULL;
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
  empty();
  (void)cells, (void)fact_count, (void)text_count;
  size_t rows = setup.deployment_count;
  witgate_request request = {now_ms, seed, input_tokens, expected_output_tokens, {has_most, most}, priority,
                             {has_deadline, deadline_ms}, traits, facts, texts};
  witgate_signals signals = {values, columns, rows};
  witgate_answer answer = {.deployments = take(rows * sizeof(uint32_t), 4), .propensities = take(rows * sizeof(float), 4)};
  policy_route(&request, &signals, &answer);
  over = true;
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
  empty();
  float unknown = __builtin_nanf("");
  witgate_outcome outcome = {seed, attempt, deployment, failed, fault, input_tokens, output_tokens, cost_usd, latency_ms,
                             has_ttft ? ttft_ms : unknown, has_quality ? quality : unknown};
  policy_observe(&outcome);
  over = true;
}

EXPORT("witgate:policy/lifecycle@0.1.0#save")
void *save(void) {
  static struct { uint32_t some; witgate_state state; } answer;
  empty();
  answer.some = policy_save(&answer.state);
  over = true;
  return &answer;
}

#endif
