/* cc policy_test.c policy.c builder.c witgate.c -o policy_test && ./policy_test */
#include <stdio.h>
#include <string.h>

#include "builder.h"

static int failed;

static void check(bool holds, const char *what) {
  if (!holds) printf("failed: %s\n", what);
  failed += !holds;
}

static const char *configure(const char *settings) {
  witgate_setup setup = {.settings = {settings, strlen(settings)}, .seed = 1};
  witgate_needs needs = {0};
  return policy_configure(&setup, &needs);
}

int main(void) {
  check(configure("{\"text\": \"\\u00dcb\\n \\ud83d\\ude00\"}") == NULL, "a text is a setting");
  witgate_part parts[] = {{WITGATE_TEXT, {"hi", 2}}, {WITGATE_OTHER, {"", 0}}};
  witgate_message said = {WITGATE_USER, parts, 2};
  witgate_request request = {.messages = &said, .message_count = 1};
  witgate_prompt prompt = {0};
  check(policy_build(&request, &prompt) == NULL && prompt.count == 2, "one message more");
  check(prompt.messages[0].role == WITGATE_SYSTEM && witgate_same(prompt.messages[0].parts[0].text, "Üb\n 😀"),
        "the instructions come first");
  const witgate_built_part *kept = prompt.messages[1].parts;
  check(kept[0].has_source && kept[0].source == 0 && kept[1].source == 1 && !kept[1].has_text, "the rest is kept");
  check(configure("{}") && configure("{\"text\": 3}") && configure("{\"text\": \"x\", \"more\": 1}"),
        "settings that make no sense are refused");
  puts(failed ? "failed" : "passed");
  return failed != 0;
}
