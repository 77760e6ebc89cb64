/* Write a prompt builder for Witgate in C: define the two functions at the end of this file. */
#ifndef WITGATE_BUILDER_H
#define WITGATE_BUILDER_H

#include "witgate.h"

/* What a builder begins with; it stays readable for as long as the instance lives. */
typedef struct {
  witgate_text settings; /* A JSON object. */
  uint64_t seed;         /* The instance's own. */
} witgate_setup;

/* What a builder wants to be told. */
typedef struct {
  const char *const *attributes; /* Ends with NULL. */
  bool pure; /* true: a prompt depends on the request alone, so an instance may serve one after another. */
} witgate_needs;

typedef enum { WITGATE_SYSTEM, WITGATE_DEVELOPER, WITGATE_USER, WITGATE_ASSISTANT, WITGATE_TOOL } witgate_role;
/* Pictures and the like are `other` and have no words. */
typedef enum {
  WITGATE_TEXT, WITGATE_TOOL_CALL, WITGATE_TOOL_RESULT, WITGATE_REASONING, WITGATE_REFUSAL, WITGATE_OTHER
} witgate_kind;

typedef struct { uint8_t kind; witgate_text text; } witgate_part;
/* One turn of the conversation. */
typedef struct { uint8_t role; const witgate_part *parts; size_t part_count; } witgate_message;

typedef struct {
  uint64_t now_ms, seed;
  const witgate_message *messages;
  size_t message_count;
  witgate_text variables;         /* The client's `prompt_variables`, a JSON object. */
  witgate_texts items;            /* The client's `prompt_items`, each as JSON. */
  witgate_maybe_u32 budget;       /* Tokens the prompt may have. */
  const witgate_text *attributes; /* One for each asked for; empty where absent. */
} witgate_request;

/* With a source that part of the request (they are counted from 0 over all messages), its words too where it has no text of its
 * own; without one a new text. */
typedef struct { bool has_source; uint32_t source; bool has_text; witgate_text text; } witgate_built_part;
/* With a source it keeps that message's name and unknown fields. */
typedef struct {
  uint8_t role;
  const witgate_built_part *parts;
  size_t part_count;
  bool has_source;
  uint32_t source;
} witgate_built_message;

/* Fill the messages. */
typedef struct {
  const witgate_built_message *messages;
  size_t count;
  const uint32_t *items; /* The items that are in it, by index. */
  size_t item_count;
  bool has_note; /* Kept for the group's response parser, and shown to nobody else. */
  witgate_text note;
} witgate_prompt;

/* A new message of one text. */
witgate_built_message witgate_new_message(witgate_role role, witgate_text text);
/* The messages of a request as they are, behind room for `before` of your own: every part is kept. */
witgate_built_message *witgate_kept(const witgate_request *request, size_t before);
/* Tokens as the group's first model counts them; in a policy's own tests a token is a word. */
uint32_t witgate_count_tokens(witgate_text text);

/* What a policy defines. */

/* The first call. NULL, or one sentence about a setting that makes no sense. */
const char *policy_configure(const witgate_setup *setup, witgate_needs *needs);
/* NULL, or why the request is refused. */
const char *policy_build(const witgate_request *request, witgate_prompt *prompt);

#endif
