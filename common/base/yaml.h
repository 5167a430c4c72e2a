#ifndef BASE_YAML_H
#define BASE_YAML_H
#include "common/base/err.h"
#include "common/base/view.h"
struct json_t;

/* A YAML document as a jansson tree plus the line of every node. Core schema scalars (null,
 * booleans, integers, reals; quoted is always a string). Refused: aliases and anchors, tags,
 * several documents, duplicate keys, depth > 64. */
struct yaml_doc;

/* name is what errors call the file. err->where is "name:line". */
MUST_CHECK enum err_code yaml_parse(struct view text, const char *name, struct yaml_doc **ret,
                                    struct err *err);
/* Not yaml_free: libyaml has a function of that name and would call ours. */
void yaml_doc_free(struct yaml_doc *doc);
struct json_t *yaml_root(const struct yaml_doc *doc); /* borrowed */
/* Line (1-based) of the node at a JSON pointer ("" = root), of its nearest known ancestor
 * otherwise. */
unsigned yaml_line(const struct yaml_doc *doc, const char *pointer);
const char *yaml_name(const struct yaml_doc *doc);

#endif
