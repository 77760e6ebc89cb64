/* What policies of every role share: texts, settings, memory, the log. `router.h`, `builder.h`, `parser.h` and `provider.h` have the roles.
 *
 * What a policy may know is handed to it. There is no clock, no file and no network in here, so the same inputs always give the
 * same answer. Nothing here has to be freed. */
#ifndef WITGATE_H
#define WITGATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Not ended by a zero. */
typedef struct { const char *at; size_t length; } witgate_text;
typedef struct { const witgate_text *at; size_t length; } witgate_texts;
typedef struct { bool known; double value; } witgate_maybe_f64;
typedef struct { bool known; uint32_t value; } witgate_maybe_u32;
typedef struct { bool known; uint64_t value; } witgate_maybe_u64;

/* What a policy learned. `schema` is its own name for the shape of `bytes`. */
typedef struct { witgate_text schema, bytes; } witgate_state;

/* A setting: a number, a whole number or a text, whichever of the last three is given. `range` says in words what `least` and `most`
 * are; of a text, which must be given, what it is. */
typedef struct {
  const char *name, *range;
  double least, most, *value;
  uint32_t *whole;
  witgate_text *text;
} witgate_setting;

/* Reads settings; `value` and `whole` keep what they hold where a setting is not given. NULL, or what is wrong. */
const char *witgate_read_settings(witgate_text json, const witgate_setting *known, size_t count);

/* Memory for this call, all zero; what is taken in `policy_configure` stays. */
void *witgate_take(size_t bytes);
/* The texts after one another, ended by a zero; the list ends with NULL. */
const char *witgate_join(const char *first, ...);
bool witgate_same(witgate_text text, const char *other);

enum { WITGATE_LOG_DEBUG, WITGATE_LOG_INFO, WITGATE_LOG_WARN };
/* A line in the gateway's log: 20 a call, each cut at 1 KiB. */
void witgate_log(int level, const char *message);

/* For the roles' own files. */

/* What the policy was given first, and what it was given first in the call under way. */
typedef struct { witgate_text settings; uint64_t seed; bool has_state; witgate_state state; } witgate_configured;
extern witgate_configured witgate_given;
/* Each call begins with the one and ends with the other; `keep` has all that was taken until now stay. */
void witgate_begin(void);
void witgate_end(void);
void witgate_keep(void);
/* A list of names that ends with NULL, counted. */
witgate_texts witgate_listed(const char *const *names);

#endif
