/* JSON, read into a tree and written piece by piece. What is read and written stays for the call under way. */
#ifndef WITGATE_JSON_H
#define WITGATE_JSON_H

#include "witgate.h"

typedef enum { WITGATE_NULL, WITGATE_BOOL, WITGATE_NUMBER, WITGATE_STRING, WITGATE_ARRAY, WITGATE_OBJECT } witgate_json_kind;

/* A value; of an array or an object the values within follow one another from `first` on. */
typedef struct witgate_json {
  witgate_json_kind kind;
  bool yes;
  double number;
  witgate_text text, name; /* Of a string; of a member, what it is called. */
  struct witgate_json *first, *next;
} witgate_json;

/* NULL where it is no JSON, or nested too deeply. */
const witgate_json *witgate_read_json(witgate_text json);

/* The member of this name, the last of several; NULL where there is none. All of these take NULL for a value. */
const witgate_json *witgate_member(const witgate_json *object, const char *name);
/* The text of a string; of anything else an empty one. */
witgate_text witgate_string(const witgate_json *value);
/* Whether it is a whole number that is not negative, and no larger than a double tells from the next; `number` is then set. */
bool witgate_whole(const witgate_json *value, uint64_t *number);
bool witgate_is_true(const witgate_json *value);

/* Bytes that grow. */
typedef struct { char *at; size_t length, room; } witgate_bytes;
/* As it stands; a text as it stands; a text as a string of JSON; a number. */
void witgate_write(witgate_bytes *to, const char *words);
void witgate_write_text(witgate_bytes *to, witgate_text text);
void witgate_write_string(witgate_bytes *to, witgate_text text);
void witgate_write_whole(witgate_bytes *to, uint64_t number);

#endif
