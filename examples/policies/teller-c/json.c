/* JSON, read and written. */
#include "json.h"

#include <stdlib.h>
#include <string.h>

/* The reader calls itself for each bracket, and the stack is small. */
enum { DEEPEST = 100 };

typedef struct { const char *at, *end; } reader;

static bool read_value(reader *from, witgate_json *value, int depth);

static void skip_space(reader *from) {
  while (from->at < from->end && (*from->at == ' ' || *from->at == '\n' || *from->at == '\t' || *from->at == '\r')) from->at++;
}

static bool take_letter(reader *from, char letter) {
  bool there = from->at < from->end && *from->at == letter;
  from->at += there;
  return there;
}

static bool read_word(reader *from, const char *word) {
  size_t length = strlen(word);
  if ((size_t)(from->end - from->at) < length || memcmp(from->at, word, length) != 0) return false;
  from->at += length;
  return true;
}

/* Four digits; negative where they are none. */
static long read_hex(reader *from) {
  long value = 0;
  if (from->end - from->at < 4) return -1;
  for (int count = 0; count < 4; count++) {
    char digit = *from->at++;
    long part = digit >= '0' && digit <= '9' ? digit - '0' : (digit | 32) >= 'a' && (digit | 32) <= 'f' ? (digit | 32) - 'a' + 10 : -1;
    if (part < 0) return -1;
    value = value << 4 | part;
  }
  return value;
}

static char *put_letter(char *to, unsigned long letter) {
  if (letter < 0x80) return *to++ = (char)letter, to;
  int more = letter < 0x800 ? 1 : letter < 0x10000 ? 2 : 3;
  *to++ = (char)((more == 1 ? 0xC0 : more == 2 ? 0xE0 : 0xF0) | letter >> 6 * more);
  while (more-- > 0) *to++ = (char)(0x80 | (letter >> 6 * more & 0x3F));
  return to;
}

/* Behind one letter of UTF-8; NULL where it is none. */
static const char *skip_letter(const char *at, const char *end) {
  unsigned char first = (unsigned char)*at;
  if (first < 0x80) return at + 1;
  int more = first >= 0xF0 ? 3 : first >= 0xE0 ? 2 : 1;
  if (first < 0xC2 || first > 0xF4 || end - at <= more) return NULL;
  unsigned long letter = first & (0x3F >> more);
  for (int count = 1; count <= more; count++) {
    if (((unsigned char)at[count] & 0xC0) != 0x80) return NULL;
    letter = letter << 6 | ((unsigned char)at[count] & 0x3F);
  }
  static const unsigned long least[] = {0, 0x80, 0x800, 0x10000};
  bool half = letter >= 0xD800 && letter < 0xE000;
  return letter < least[more] || letter > 0x10FFFF || half ? NULL : at + more + 1;
}

static bool read_escape(reader *from, char **to) {
  if (from->at == from->end) return false;
  char kind = *from->at++;
  if (kind != 'u') {
    static const char pairs[] = "b\bf\fn\nr\rt\t\"\"\\\\//";
    for (const char *pair = pairs; *pair; pair += 2)
      if (*pair == kind) return *(*to)++ = pair[1], true;
    return false;
  }
  long letter = read_hex(from);
  if (letter < 0 || (letter >= 0xDC00 && letter < 0xE000)) return false;
  if (letter >= 0xD800 && letter < 0xDC00) {
    long second = take_letter(from, '\\') && take_letter(from, 'u') ? read_hex(from) : -1;
    if (second < 0xDC00 || second >= 0xE000) return false;
    letter = 0x10000 + ((letter - 0xD800) << 10) + (second - 0xDC00);
  }
  *to = put_letter(*to, (unsigned long)letter);
  return true;
}

/* Behind its opening quote. */
static bool read_string(reader *from, witgate_text *text) {
  const char *start = from->at, *end = start;
  while (end < from->end && *end != '"') end += *end == '\\' ? 2 : 1;
  if (end >= from->end) return false;
  /* No escape is shorter than what it stands for. */
  char *letters = witgate_take((size_t)(end - start) + 1), *to = letters;
  while (!take_letter(from, '"')) {
    if (take_letter(from, '\\')) {
      if (!read_escape(from, &to)) return false;
      continue;
    }
    const char *next = (unsigned char)*from->at < 0x20 ? NULL : skip_letter(from->at, from->end);
    if (!next) return false;
    while (from->at < next) *to++ = *from->at++;
  }
  *text = (witgate_text){letters, (size_t)(to - letters)};
  return true;
}

static bool skip_digits(reader *from) {
  const char *start = from->at;
  while (from->at < from->end && *from->at >= '0' && *from->at <= '9') from->at++;
  return from->at > start;
}

static bool read_number(reader *from, double *number) {
  const char *start = from->at;
  take_letter(from, '-');
  if (!take_letter(from, '0') && !skip_digits(from)) return false;
  if (take_letter(from, '.') && !skip_digits(from)) return false;
  if (take_letter(from, 'e') || take_letter(from, 'E')) {
    if (!take_letter(from, '-')) take_letter(from, '+');
    if (!skip_digits(from)) return false;
  }
  char *digits = witgate_take((size_t)(from->at - start) + 1);
  memcpy(digits, start, (size_t)(from->at - start));
  *number = strtod(digits, NULL);
  return true;
}

/* What stands between brackets, behind the opening one. */
static bool read_within(reader *from, witgate_json *value, int depth) {
  char close = value->kind == WITGATE_OBJECT ? '}' : ']';
  witgate_json **place = &value->first;
  skip_space(from);
  if (take_letter(from, close)) return true;
  do {
    witgate_json *next = *place = witgate_take(sizeof *next);
    skip_space(from);
    if (value->kind == WITGATE_OBJECT) {
      if (!take_letter(from, '"') || !read_string(from, &next->name)) return false;
      skip_space(from);
      if (!take_letter(from, ':')) return false;
    }
    if (!read_value(from, next, depth + 1)) return false;
    place = &next->next;
    skip_space(from);
  } while (take_letter(from, ','));
  return take_letter(from, close);
}

static bool read_value(reader *from, witgate_json *value, int depth) {
  skip_space(from);
  if (from->at == from->end || depth > DEEPEST) return false;
  switch (*from->at) {
    case '{': case '[':
      value->kind = *from->at++ == '{' ? WITGATE_OBJECT : WITGATE_ARRAY;
      return read_within(from, value, depth);
    case '"':
      from->at++;
      value->kind = WITGATE_STRING;
      return read_string(from, &value->text);
    case 't': case 'f':
      value->kind = WITGATE_BOOL;
      value->yes = *from->at == 't';
      return read_word(from, value->yes ? "true" : "false");
    case 'n':
      return read_word(from, "null");
    default:
      value->kind = WITGATE_NUMBER;
      return read_number(from, &value->number);
  }
}

const witgate_json *witgate_read_json(witgate_text json) {
  witgate_json *value = witgate_take(sizeof *value);
  reader from = {json.at, json.at + json.length};
  if (!read_value(&from, value, 0)) return NULL;
  skip_space(&from);
  return from.at == from.end ? value : NULL;
}

const witgate_json *witgate_member(const witgate_json *object, const char *name) {
  const witgate_json *found = NULL;
  if (!object || object->kind != WITGATE_OBJECT) return NULL;
  for (const witgate_json *member = object->first; member; member = member->next)
    if (witgate_same(member->name, name)) found = member;
  return found;
}

witgate_text witgate_string(const witgate_json *value) {
  return value && value->kind == WITGATE_STRING ? value->text : (witgate_text){"", 0};
}

bool witgate_whole(const witgate_json *value, uint64_t *number) {
  if (!value || value->kind != WITGATE_NUMBER || !(value->number >= 0 && value->number < 9007199254740992.0)) return false;
  uint64_t whole = (uint64_t)value->number;
  if ((double)whole != value->number) return false;
  *number = whole;
  return true;
}

bool witgate_is_true(const witgate_json *value) { return value && value->kind == WITGATE_BOOL && value->yes; }

/* Written. */

static void put(witgate_bytes *to, const char *at, size_t length) {
  if (to->length + length > to->room) {
    size_t room = 2 * (to->length + length) + 64;
    char *grown = witgate_take(room);
    if (to->length) memcpy(grown, to->at, to->length);
    to->at = grown;
    to->room = room;
  }
  if (length) memcpy(to->at + to->length, at, length);
  to->length += length;
}

void witgate_write(witgate_bytes *to, const char *words) { put(to, words, strlen(words)); }

void witgate_write_text(witgate_bytes *to, witgate_text text) { put(to, text.at, text.length); }

void witgate_write_string(witgate_bytes *to, witgate_text text) {
  put(to, "\"", 1);
  size_t from = 0;
  for (size_t at = 0; at < text.length; at++) {
    unsigned char letter = (unsigned char)text.at[at];
    if (letter >= 0x20 && letter != '"' && letter != '\\') continue;
    put(to, text.at + from, at - from);
    const char escaped[] = {'\\', 'u', '0', '0', (char)('0' + (letter >> 4)), "0123456789abcdef"[letter & 15]};
    if (letter < 0x20) put(to, escaped, sizeof escaped);
    else put(to, (const char[]){'\\', (char)letter}, 2);
    from = at + 1;
  }
  put(to, text.at + from, text.length - from);
  put(to, "\"", 1);
}

void witgate_write_whole(witgate_bytes *to, uint64_t number) {
  char digits[24], *at = digits + sizeof digits;
  *--at = 0;
  do *--at = (char)('0' + number % 10);
  while (number /= 10);
  witgate_write(to, at);
}
