#!/bin/sh
# Turns files into C byte arrays: `embed.sh FILE|FOLDER...` prints a table that schemas/embed.h declares. NUL-terminated.
# A folder of *.lua is one file, <folder>.lua: its parts one behind the other, in the order of their names.
set -eu
export LC_ALL=C
printf '#include "schemas/embed.h"\n#include <string.h>\n'
n=0
for f in "$@"; do
    printf 'static const unsigned char file_%d[] = {' "$n"
    if [ -d "$f" ]; then cat "$f"/*.lua; else cat "$f"; fi | od -An -v -tu1 | tr -s ' ' ',' | sed 's/^,//; s/,*$/,/'
    printf '0};\n'
    n=$((n + 1))
done
printf 'static const struct embed_file files[] = {\n'
n=0
for f in "$@"; do
    if [ -d "$f" ]; then f=$f.lua; fi
    printf '    {"%s", file_%d, sizeof file_%d - 1},\n' "$f" "$n" "$n"
    n=$((n + 1))
done
printf '};\nconst struct embed_file *embed_find(const char *path)\n{\n'
printf '    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)\n'
printf '        if (strcmp(files[i].path, path) == 0) return &files[i];\n    return NULL;\n}\n'
