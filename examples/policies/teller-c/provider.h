/* Write a provider for Witgate in C: define the six functions at the end of this file. */
#ifndef WITGATE_PROVIDER_H
#define WITGATE_PROVIDER_H

#include "json.h"
#include "witgate.h"

/* What a provider begins with; it stays readable for as long as the instance lives. */
typedef struct {
  witgate_text settings; /* A JSON object. */
  uint64_t seed;         /* The instance's own. */
} witgate_setup;

/* How streams are cut: events of text/event-stream, lines, or bytes as they come. */
typedef enum { WITGATE_SERVER_SENT_EVENTS, WITGATE_LINES, WITGATE_BYTES } witgate_framing;

typedef struct {
  uint8_t framing;
  bool pure; /* true: nothing of one request is remembered at the next, so an instance may serve one after another. */
} witgate_needs;

/* What a request is written for; texts are good until the call returns. */
typedef struct {
  witgate_text model; /* As the provider names it. */
  bool has_api_version;
  witgate_text api_version;
  uint32_t max_output_tokens; /* To be sent where the provider demands a bound and the client gave none. */
} witgate_target;

/* `accept`, and names that end with `-version`, `-beta`, `-features` or `-client-name`. */
typedef struct { witgate_text name, value; } witgate_header;

/* A request in the provider's words. */
typedef struct {
  const char *path; /* Path and query below the deployment's address, from a slash on. */
  const witgate_header *headers;
  size_t header_count;
  witgate_bytes body; /* JSON. */
  /* Fields of the request that the provider has no word for and whose loss does not change what was asked. */
  const witgate_text *dropped;
  size_t dropped_count;
} witgate_encoded;

typedef enum {
  WITGATE_BEGINNING, WITGATE_TEXT, WITGATE_REASONING, WITGATE_REFUSAL, WITGATE_TOOL_CALL, WITGATE_TOOL_ARGUMENTS, WITGATE_FINISH,
  WITGATE_USAGE, WITGATE_END
} witgate_event_kind;

typedef enum {
  WITGATE_STOP, WITGATE_LENGTH, WITGATE_TO_TOOLS, WITGATE_CONTENT_FILTER, WITGATE_REFUSED, WITGATE_OTHERWISE
} witgate_reason;

/* A step of a reply. It begins once, first; without an end a stream that breaks off is a fault. `text` is that of an answer, of
 * reasoning and of a refusal. Of tokens, `input` counts those from and to a cache too, and `output` thinking. */
typedef struct {
  uint8_t kind;
  union {
    struct { witgate_text id, model; } beginning;
    witgate_text text;
    struct { uint32_t index; witgate_text id, name; } call;
    struct { uint32_t index; witgate_text fragment; } arguments; /* JSON text. */
    uint8_t finish;
    struct { uint64_t input, cache_read, cache_write, output, reasoning; } usage;
  };
} witgate_event;

typedef struct { witgate_event *at; size_t count, room; } witgate_events;
void witgate_add(witgate_events *events, witgate_event event);

/* What cannot be written, or is no reply; `code` is the provider's word for it, `param` the field of the request to blame, each empty
 * where there is none. */
typedef struct { witgate_text message, code, param; } witgate_fault;
const witgate_fault *witgate_faulted(const char *message, const char *param);

/* What a policy defines. */

/* The first call. NULL, or one sentence about a setting that makes no sense. */
const char *policy_configure(const witgate_setup *setup, witgate_needs *needs);
/* Writes a request: an OpenAI chat completion, whatever API the client spoke. NULL, or why it cannot be written; so are the others. */
const witgate_fault *policy_encode(witgate_text request, const witgate_target *target, witgate_encoded *encoded);
/* Reads a whole reply. */
const witgate_fault *policy_decode(witgate_text body, witgate_events *events);
/* The words of a refusal; what its status means the gateway knows. */
const witgate_fault *policy_decode_error(uint16_t status, witgate_text body);
/* A stream begins: memory from `malloc` for what is to be known of it, which is freed for you at its end. */
void *policy_open(void);
/* Reads the next piece. The name is the event's, empty where it has none or there are no events. */
const witgate_fault *policy_push(void *stream, witgate_text name, witgate_text data, witgate_events *events);

#endif
