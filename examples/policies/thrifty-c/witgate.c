/* Between the gateway and a policy of any role: memory, settings, and the calls that every role has, as the component model's
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

static unsigned hex(const char *digits) {
  unsigned value = 0;
  for (int at = 0; at < 4; at++) {
    unsigned digit = (unsigned char)digits[at];
    value = value << 4 | (digit <= '9' ? digit - '0' : (digit | 32) - 'a' + 10);
  }
  return value;
}

static char *put_letter(char *to, unsigned letter) {
  if (letter < 0x80) return *to++ = (char)letter, to;
  int more = letter < 0x800 ? 1 : letter < 0x10000 ? 2 : 3;
  *to++ = (char)((more == 1 ? 0xC0 : more == 2 ? 0xE0 : 0xF0) | letter >> 6 * more);
  while (more-- > 0) *to++ = (char)(0x80 | (letter >> 6 * more & 0x3F));
  return to;
}

/* The letters of the text between quotes; false where half of a pair stands alone. */
static bool read_text(const char *at, const char *end, witgate_text *text) {
  char *letters = witgate_take((size_t)(end - at) + 1), *to = letters;
  while (at < end) {
    if (*at != '\\') {
      *to++ = *at++;
      continue;
    }
    char kind = at[1];
    at += 2;
    if (kind != 'u') {
      const char *found = strchr("b\bf\fn\nr\rt\t", kind);
      *to++ = found ? found[1] : kind;
      continue;
    }
    if (end - at < 4) return false;
    unsigned letter = hex(at);
    at += 4;
    if (letter >= 0xDC00 && letter < 0xE000) return false;
    if (letter >= 0xD800 && letter < 0xDC00) {
      if (end - at < 6 || at[0] != '\\' || at[1] != 'u') return false;
      unsigned second = hex(at + 2);
      if (second < 0xDC00 || second >= 0xE000) return false;
      letter = 0x10000 + ((letter - 0xD800) << 10) + (second - 0xDC00);
      at += 6;
    }
    to = put_letter(to, letter);
  }
  *text = (witgate_text){letters, (size_t)(to - letters)};
  return true;
}

static const char *names(const witgate_setting *known, size_t count) {
  const char *list = known[0].name;
  for (size_t at = 1; at < count; at++) list = witgate_join(list, ", ", known[at].name, NULL);
  return list;
}

static const char *no_text(const witgate_setting *setting) {
  return witgate_join("setting `", setting->name, "` must be a text: ", setting->range, NULL);
}

static const char *read_value(const witgate_setting *setting, const char *from, const char *to) {
  while (to > from && (to[-1] == ' ' || to[-1] == '\n' || to[-1] == '\t' || to[-1] == '\r')) to--;
  size_t length = (size_t)(to - from);
  if (length == 4 && memcmp(from, "null", 4) == 0) return NULL;
  if (setting->text)
    return *from == '"' && read_text(from + 1, to - 1, setting->text) ? NULL : no_text(setting);
  char *digits = witgate_take(length + 1), *end;
  memcpy(digits, from, length);
  double value = strtod(digits, &end);
  bool number = length > 0 && (*from == '-' || (*from >= '0' && *from <= '9')) && *end == 0;
  number = number && value >= setting->least && value <= setting->most;
  if (setting->whole) {
    if (!number || value != (uint32_t)value)
      return witgate_join("setting `", setting->name, "` must be a whole number from ", setting->range, NULL);
    *setting->whole = (uint32_t)value;
    return NULL;
  }
  if (!number) return witgate_join("setting `", setting->name, "` must be a number, ", setting->range, NULL);
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
    const char *problem = read_value(&known[which], value, at);
    if (problem) return problem;
    at = skip_space(at, end);
    if (at < end && *at == ',') at = skip_space(at + 1, end);
  }
  if (at == end || *at != '}') return NO_OBJECT;
  for (size_t which = 0; which < count; which++)
    if (known[which].text && !known[which].text->at) return no_text(&known[which]);
  return NULL;
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
void witgate_begin(void) {
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
  witgate_begin();
  void *place = take(size, align);
  return old ? memcpy(place, old, old_size) : place;
}

void witgate_end(void) { over = true; }

/* A block of its own for what comes later. */
void witgate_keep(void) { newest = NULL; }

witgate_configured witgate_given;

typedef struct { uint32_t failed; witgate_text words; } unit_or_words;

EXPORT("witgate:policy/lifecycle@0.1.0#configure")
unit_or_words *configure(const char *settings, size_t length, uint64_t seed, int32_t has_state, const char *schema,
                         size_t schema_length, const char *bytes, size_t bytes_length) {
  witgate_given = (witgate_configured){{settings, length}, seed, has_state, {{schema, schema_length}, {bytes, bytes_length}}};
  static unit_or_words none;
  return &none;
}

witgate_texts witgate_listed(const char *const *list) {
  size_t count = 0;
  while (list && list[count]) count++;
  witgate_text *texts = witgate_take(count * sizeof *texts);
  for (size_t at = 0; at < count; at++) texts[at] = (witgate_text){list[at], strlen(list[at])};
  return (witgate_texts){texts, count};
}

#endif
