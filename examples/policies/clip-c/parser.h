/* Write a response parser for Witgate in C: define the four functions at the end of this file. */
#ifndef WITGATE_PARSER_H
#define WITGATE_PARSER_H

#include "witgate.h"

/* What a parser begins with; it stays readable for as long as the instance lives. */
typedef struct {
  witgate_text settings; /* A JSON object. */
  uint64_t seed;         /* The instance's own. */
} witgate_setup;

/* Kinds of deltas to be asked for. */
enum { WITGATE_TEXTS = 1, WITGATE_REASONINGS = 2, WITGATE_REFUSALS = 4, WITGATE_TOOL_CALLS = 8 };

/* What a parser wants to be told. */
typedef struct {
  uint8_t deltas;                /* The kinds it is called with; all others pass untouched. */
  const char *const *attributes; /* Ends with NULL. */
  bool pure; /* true: nothing of one reply is remembered at the next, so an instance may read one after another. */
} witgate_needs;

/* What is known of a reply before it comes; good until `policy_open` returns. */
typedef struct {
  uint32_t choice;      /* Which alternative, from 0. */
  bool streamed;        /* Whether the client gets pieces as they come. A complaint then ends the reply with an error. */
  uint32_t asked_again; /* How often the model was asked before for this request. */
  bool has_schema, has_note;
  witgate_text schema;            /* The JSON schema the client wants the reply to follow. */
  witgate_text note;              /* What the group's prompt builder left for this reply. */
  const witgate_text *attributes; /* One for each asked for; empty where absent. */
} witgate_about;

typedef enum {
  WITGATE_TEXT, WITGATE_REASONING, WITGATE_REFUSAL, WITGATE_TOOL_CALL, WITGATE_TOOL_ARGUMENTS
} witgate_delta_kind;

/* What a step of a reply adds; good until the call returns. `text` is that of the first three kinds. */
typedef struct {
  uint8_t kind;
  union {
    witgate_text text;
    struct { uint32_t index; witgate_text id, name; } call;
    struct { uint32_t index; witgate_text fragment; } arguments; /* JSON text. */
  };
} witgate_delta;

/* What the client gets. */
typedef struct { witgate_delta *at; size_t count, room; } witgate_deltas;
void witgate_add(witgate_deltas *deltas, witgate_delta delta);

typedef enum {
  WITGATE_STOP, WITGATE_LENGTH, WITGATE_TO_TOOLS, WITGATE_CONTENT_FILTER, WITGATE_REFUSED, WITGATE_OTHERWISE
} witgate_reason;

/* What a policy defines. */

/* The first call. NULL, or one sentence about a setting that makes no sense. */
const char *policy_configure(const witgate_setup *setup, witgate_needs *needs);
/* One alternative of one reply begins: memory from `malloc` for what is to be known of it, which is freed for you at its end. */
void *policy_open(const witgate_about *about);
/* Adds what the client gets in the place of `delta`. */
void policy_push(void *reply, const witgate_delta *delta, witgate_deltas *deltas);
/* Adds what was held back. NULL, or why the reply is none; `repair`, if set, is what to tell the model so that it does better. */
const char *policy_finish(void *reply, witgate_reason reason, witgate_deltas *deltas, const char **repair);

#endif
