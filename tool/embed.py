#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes page.c of page.html: embed.py PAGE.html PAGE.c

The page is cut in two where the server puts its numbers. Comments and indentation of the source are
for those who read it, and are left out. The policy allows the one script and the one style sheet
that are in the page, by their hashes, and to ask the server that the page comes from.
"""

import base64
import hashlib
import re
import sys

PLACE = "<!-- numbers -->"


def strip(text):
    """Without what nobody's browser needs: indentation, and comments in lines of their own."""
    text = re.sub(r"^[ \t]+", "", text, flags=re.M)
    text = re.sub(r"^(//[^\n]*|/\*.*?\*/|<!--(?! numbers -->).*?-->)\n", "", text, flags=re.M | re.S)
    return re.sub(r"\n\n+", "\n", text)


def content_hash(page, tag):
    found = re.findall(rf"<{tag}>(.*?)</{tag}>", page, flags=re.S)
    if len(found) != 1:
        sys.exit(f"embed.py: the page has {len(found)} <{tag}>, not 1")
    return "'sha256-" + base64.b64encode(hashlib.sha256(found[0].encode()).digest()).decode() + "'"


def array(name, data):
    lines = [", ".join(map(str, data[i:i + 24])) for i in range(0, len(data), 24)]
    return (f"const unsigned char {name}[] = {{\n" + ",\n".join(lines) + "\n};\n"
            f"const size_t {name}_bytes = sizeof({name});\n")


def main():
    source, target = sys.argv[1:]
    with open(source, encoding="utf-8") as file:
        page = strip(file.read())
    head, place, tail = page.partition(PLACE + "\n")
    if not place:
        sys.exit(f"embed.py: {PLACE} is missing in {source}")
    policy = ("default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
              f"connect-src 'self'; img-src 'self'; script-src {content_hash(page, 'script')}; "
              f"style-src {content_hash(page, 'style')}")
    with open(target, "w", encoding="ascii") as file:
        file.write('/* SPDX-License-Identifier: MIT */\n/* Made by embed.py. */\n#include "page.h"\n'
                   f'const char page_fields[] = "Content-Security-Policy: {policy}\\r\\n"\n'
                   '\t"Referrer-Policy: no-referrer\\r\\nVary: Accept\\r\\n";\n')
        file.write(array("page_head", head.encode()) + array("page_tail", tail.encode()))


main()
