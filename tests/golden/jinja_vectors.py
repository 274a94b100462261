#!/usr/bin/env python3
"""Snippets of the template language and what jinja2 makes of them, in the environment of transformers' chat templates.

  jinja_vectors.py --write                      writes jinja_vectors.json: [template, variables, text or null], null = raises
  jinja_vectors.py --check TOOL                 compares chat_template_tool on the snippets
  jinja_vectors.py --check TOOL --random N [--seed S]   and on N random ones
"""
import argparse
import json
import pathlib
import random
import re
import resource
import signal
import subprocess
import sys
import warnings

import chat_template_vectors as chat

warnings.filterwarnings("ignore")  # literals that are called, and the like
HERE = pathlib.Path(__file__).parent
VARIABLES = {
    "s": "Hello, World", "e": "", "u": "Straße ΑΣ 世界 é\n👍", "sp": "  pad \t\n", "csv": "a,b,,c", "n": 7, "z": 0, "neg": -3,
    "f": 2.5, "big": 1234567, "t": True, "no": False, "nil": None, "l": [3, 1, 2], "ls": ["b", "A", "c"],
    "d": {"a": 1, "b": "two", "items": 3, "_x": 9}, "el": [], "ed": {}, "m": [1, "x", None, True, 2.0, [1], {"k": "v"}],
    "users": [{"name": "Bob", "age": 30, "tags": ["x"]}, {"name": "alice", "age": 25}, {"name": "Al", "age": 30}],
    "html": "<b>\"x\" & 'y'</b>", "num": "42", "fl": "3.75", "json": {"z": [1, {"y": None}], "a": "é\"\\\u2028\x7f", "f": 1e22},
    "lines": "one\ntwo\r\n\nfour\x0bfive", "messages_": [{"role": "user"}, {"role": "assistant"}],
}

SNIPPETS = """
{{ s }}|{{ missing }}|{{ nil }}|{{ t }}|{{ f }}|{{ l }}|{{ d }}|{{ m }}
{{ missing.x }}
{{ missing['x'] }}
{{ d.a }} {{ d['b'] }} {{ d.nope }} {{ d._x }} {{ d.items }}
{{ d['items'] }} {{ d.items()|list }} {{ d.keys()|list }} {{ d.values() }}
{{ d.get('a') }} {{ d.get('q', 5) }} {{ d.get('q') }}
{{ d.get('q', default=5) }}
{{ d.pop('a') }}
{{ l.append(4) }}
{{ l.append is defined }} {{ l.count(1) }} {{ l.index(2) }}
{{ l.index(9) }}
{{ l[0] }} {{ l[-1] }} {{ l[9] }} {{ l['x'] }} {{ l.0 }} {{ l[1:] }} {{ l[::-1] }} {{ l[:-1] }} {{ l[5:1] }} {{ l[-2:] }}
{{ s[0] }} {{ s[-1] }} {{ s[1:4] }} {{ s[::-1] }} {{ s[::2] }} {{ u[4] }} {{ u[-2] }} {{ u[3:6] }} {{ u[::-2] }} {{ s[99] }}
{{ l[::0] }}
{{ (1, 2)[0] }} {{ (1,) }} {{ () }} {{ (1, 2) + (3,) }} {{ [1] + [2] }} {{ [0] * 3 }} {{ 'ab' * 2 }} {{ 2 * 'x' }}
{{ [1] + (2,) }}
{{ 'a' + 1 }}
{{ 'a' ~ 1 ~ none ~ 2.0 ~ [1, 'x'] ~ missing }}
{{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ 7 / 2 }} {{ 6 / 2 }} {{ 1e3 }} {{ 0.1 + 0.2 }}
{{ 7.5 // 2 }} {{ -7.5 // 2 }} {{ -7.5 % 2 }} {{ 7.5 % -2 }} {{ 2.0 ** 0.5 }} {{ true + 1 }} {{ -true }} {{ 1_000 }} {{ 0x1f }} {{ 0b11 }} {{ 0o17 }}
{{ 1 / 0 }}
{{ 1 // 0 }}
{{ 1.0 % 0 }}
{{ 2 ** 3 ** 2 }} {{ -2 ** 2 }} {{ (-2) ** 2 }} {{ not 1 == 2 }} {{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 1 == 1.0 }} {{ true == 1 }} {{ '1' == 1 }}
{{ 1 < 'a' }}
{{ [1, 2] < [1, 3] }} {{ 'a' < 'b' }} {{ (1, 'a') < (1, 'b') }} {{ [] == [] }} {{ {} == {} }} {{ [1] == (1,) }} {{ none == none }}
{{ 1 in l }} {{ 9 in l }} {{ 'a' in d }} {{ 'ell' in s }} {{ 'z' not in s }} {{ 1 in missing }} {{ 'a' in d.keys() }} {{ 1 in d.values() }} {{ ('a', 1) in d.items() }}
{{ 1 in s }}
{{ 1 in 5 }}
{{ [] in d }}
{{ t and s }} {{ no or e or 'x' }} {{ e and 1 }} {{ not e }} {{ nil or 0 }} {{ missing or 'dflt' }}
{{ 'a' if t else 'b' }} {{ 'a' if no else 'b' }} {{ 'a' if no }} {{ 'a' if t if no else 'c' }}
{{ ('a' if no).x }}
{% if n > 5 and not z %}yes{% elif n %}mid{% else %}no{% endif %}
{% for x in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.depth }};{% endfor %}
{% for x in [] %}a{% else %}empty{% endfor %}{% for x in l if x > 1 %}{{ x }}/{{ loop.length }} {% endfor %}
{% for x in l if x > 9 %}a{% else %}none{% endfor %}{% for c in s %}{{ c }}.{% endfor %}{% for k in d %}{{ k }}{% endfor %}
{% for k, v in d.items() %}{{ k }}={{ v }},{% endfor %}{% for a, (b, c) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}
{% for a, b in [(1, 2, 3)] %}{{ a }}{% endfor %}
{% for a, b in [(1,)] %}{{ a }}{% endfor %}
{% for x in 5 %}{% endfor %}
{% for x in missing %}x{% else %}undefined is empty{% endfor %}
{% for x in range(10) %}{% if x == 2 %}{% continue %}{% endif %}{% if x == 5 %}{% break %}{% endif %}{{ x }}{% endfor %}
{% for x in [1] %}{% continue %}{% else %}else after continue{% endfor %}{% for x in [1, 2] %}{% break %}{% else %}else after break{% endfor %}
{% for x in l recursive %}{{ x }}{% if x == 1 %}{{ loop([7, 8]) }}{% endif %}{{ loop.depth }}{% endfor %}
{% for x in l %}{{ loop([1]) }}{% endfor %}
{% for x in l %}{{ loop.cycle('odd', 'even') }}{{ loop.changed(x > 1) }} {% endfor %}{{ loop is defined }}
{% for x in [1,2] %}{% for y in [1,2] %}{{ loop.index }}{{ x }}{{ y }} {% endfor %}{{ loop.index }}{% endfor %}
{% for x in l|map('string') %}{{ loop.last }}{{ loop.length }}{{ x }}{% endfor %}
{% break %}
{% set x = 1 %}{% for i in [1, 2] %}{% set x = x + i %}{{ x }}{% endfor %}{{ x }}
{% set x = 1 %}{% if true %}{% set x = 2 %}{% endif %}{{ x }}{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set c = 1, 2 %}{{ c }}
{% set ns = namespace(x=0, y='a') %}{% for i in l %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}{{ ns.y }}{{ ns.z }}{{ ns['x'] }}{{ ns }}
{% set d.a = 5 %}
{% set ns = namespace({'a': 1}, b=2) %}{{ ns.a }}{{ ns.b }}{% set ns._p = 1 %}
{% set x %}block {{ n }}{% endset %}[{{ x }}]{% set y | upper | trim %} abc {% endset %}[{{ y }}]
{% set x = 1 %}{% set y %}{% set x = 2 %}{{ x }}{% endset %}{{ x }}{{ y }}
{% macro m(a, b=2, c=a) %}{{ a }}-{{ b }}-{{ c }};{% endmacro %}{{ m(1) }}{{ m(1, 3) }}{{ m(b=5, a=6) }}{{ m(1, 2, 3) }}{{ m() }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, z=2) }}
{% macro m(a) %}{{ a }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, 3, k='v') }}{{ m.name }}{{ m.arguments }}{{ m.catch_kwargs }}{{ m.caller }}
{% macro m() %}<{{ caller() }}|{{ caller(5) }}>{% endmacro %}{% call(x=1) m() %}in{{ x }}{% endcall %}
{% macro m() %}x{% endmacro %}{% call m() %}in{% endcall %}
{% macro m() %}{{ caller() }}{% endmacro %}{{ m() }}
{% macro f(n) %}{% if n > 0 %}{{ n }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(5) }}{{ f }}
{% macro m() %}{{ x }}{% endmacro %}{% set x = 5 %}{{ m() }}
{% set x = 1 %}{% macro m() %}{% set x = 2 %}{{ x }}{% endmacro %}{{ m() }}{{ x }}
{% for i in [1,2] %}{% macro m() %}{{ i }}{% endmacro %}{{ m() }}{% endfor %}{{ m is defined }}
{% filter upper %}abc {{ s }}{% endfilter %}{% filter replace('a', 'b')|trim %} aaa {% endfilter %}
{% with a = 1, b = n %}{{ a }}{{ b }}{% endwith %}{{ a }}{% with %}{% set q = 1 %}{{ q }}{% endwith %}{{ q }}
{% block body %}in block {{ n }}{% endblock %}{% block b2 scoped %}x{% endblock b2 %}
{% raw %}{{ x }}{% if %}{% endraw %}|{% raw -%}  a  {%- endraw %}|{# comment {{ x }} #}|{#- c -#}  end
a
  {% if t %}
    b
  {% endif %}
c
a  {%- if t -%}  b  {%- endif -%}  c {{- ' d ' -}} e
x {%+ if t %} y {%+ endif +%} z
  {{ n }}  
  {# c #}
end
{{ 'a\\nb\\t\\x41\\u00e9\\\\ \\' \\" \\q \\101' }}{{ "it's" 'joined' "up" }}
{{ 'unclosed }}
{{ '\\xZZ' }}
{{ {'a': 1, 2: 'b', none: true, 1.5: [], (1, 2): {}} }}{{ {'a': 1}['a'] }}{{ {1: 'x'}[true] }}{{ {} }}
{{ {[]: 1} }}
{{ {'a': 1, 'a': 2} }}{{ dict(a=1, b=2) }}{{ dict([('x', 1)], y=2) }}{{ dict({'q': 1}) }}{{ dict.fromkeys('ab', 1) }}
{{ range(5)|list }}{{ range(1, 4) }}{{ range(0, 10, 3)|list }}{{ range(3, 0, -1)|list }}{{ range(5)[1] }}{{ range(5)[1:3] }}{{ range(5)|length }}{{ 3 in range(5) }}{{ range(0) == range(2, 2) }}
{{ range(1000000) }}
{{ range(1.5) }}
{{ cycler('a', 'b') is defined }}{% set c = cycler(1, 2) %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}{% set j = joiner('|') %}{{ j() }}a{{ j() }}b{{ j() }}
{{ cycler() }}
{{ raise_exception('boom ' ~ n) }}
{{ strftime_now('%Y-%m-%d %H:%M:%S %a %b %j %%') }}[{{ strftime_now('') }}]
{{ s|upper }}{{ s|lower }}{{ u|upper }}{{ u|lower }}{{ u|title }}{{ u|capitalize }}{{ 'hello wORLD-foo (bar) <x>'|title }}{{ 5|upper }}{{ nil|upper }}{{ 'ǆabc ŉ'|title }}
{{ s.upper() }}{{ u.upper() }}{{ u.lower() }}{{ u.title() }}{{ u.swapcase() }}{{ u.casefold() }}{{ s.capitalize() }}{{ "it's o'neil".title() }}
{{ sp|trim }}|{{ sp.strip() }}|{{ sp.lstrip() }}|{{ sp.rstrip() }}|{{ 'xxaxx'.strip('x') }}|{{ 'xyaxy'|trim('xy') }}|{{ 'abc'.strip('') }}|{{ 'a\\u00a0\\u2003'.strip() }}|
{{ csv.split(',') }}{{ csv.split(',', 1) }}{{ csv.rsplit(',', 1) }}{{ ' a  b '.split() }}{{ ' a  b c'.split(none, 1) }}{{ ' a b c '.rsplit(none, 1) }}{{ 'a--b'.split('--') }}{{ ''.split() }}{{ ''.split(',') }}{{ 'a,b'.split(sep=',', maxsplit=0) }}
{{ 'a'.split('') }}
{{ 'a'.split(5) }}
{{ lines.splitlines() }}{{ lines.splitlines(true) }}{{ ''.splitlines() }}{{ 'a\\n'.splitlines() }}
{{ s.startswith('He') }}{{ s.startswith(('x', 'H')) }}{{ s.endswith('d') }}{{ s.startswith('l', 2) }}{{ s.endswith('lo', 0, 5) }}{{ s.startswith('') }}{{ s.startswith('', 99) }}
{{ s.startswith(['H']) }}
{{ s.replace('l', 'L') }}{{ s.replace('l', 'L', 1) }}{{ 'aaa'.replace('', '-') }}{{ 'aaa'.replace('', '-', 2) }}{{ s|replace('o', '0') }}{{ s|replace('l', '', 2) }}{{ 151|replace(5, 'x') }}
{{ s.find('o') }}{{ s.find('zz') }}{{ s.rfind('o') }}{{ u.find('世') }}{{ s.find('o', 5) }}{{ s.find('o', -4) }}{{ s.index('W') }}{{ s.count('l') }}{{ s.count('') }}{{ 'aaaa'.count('aa') }}{{ s.find('', 3) }}{{ ''.find('', 1) }}{{ s.rfind('') }}
{{ s.index('zz') }}
{{ s.partition(', ') }}{{ s.rpartition('o') }}{{ s.partition('zz') }}{{ s.rpartition('zz') }}{{ 'abc'.removeprefix('a') }}{{ 'abc'.removesuffix('c') }}{{ 'abc'.removeprefix('x') }}
{{ ','.join(ls) }}{{ ''.join('abc') }}{{ '-'.join(d) }}
{{ ','.join(l) }}
{{ 'a'.center(5) }}|{{ 'ab'.center(5, '*') }}|{{ 'a'.ljust(3) }}|{{ 'a'.rjust(3, '0') }}|{{ '-5'.zfill(4) }}|{{ 'a\\tb'.expandtabs(4) }}|{{ 'abc'|center(7) }}|
{{ '12'.isdigit() }}{{ '²'.isdigit() }}{{ '²'.isdecimal() }}{{ '½'.isnumeric() }}{{ 'ab1'.isalnum() }}{{ 'ab'.isalpha() }}{{ ' '.isspace() }}{{ ''.isalpha() }}{{ 'AB1'.isupper() }}{{ 'ab1'.islower() }}{{ 'Ab Cd'.istitle() }}{{ 'a_1'.isidentifier() }}{{ '1a'.isidentifier() }}{{ 'é'.isascii() }}{{ ''.isascii() }}{{ 'a\\n'.isprintable() }}{{ '一'.isnumeric() }}
{{ '{} {}'.format(1, 'b') }}{{ '{1}{0}{x}'.format(1, 2, x=3) }}{{ '{:>5}|{:<5}|{:^5}|{:05d}|{:.2f}|{:,}|{:x}|{:#b}|{!r}'.format('a', 'b', 'c', 42, 3.14159, 1234567, 255, 5, 'q') }}{{ '{{}}'.format() }}{{ '{0[1]}{0[0]}'.format([1, 2]) }}{{ '{:{}}|'.format('x', 4) }}{{ '{:+d} {:e} {:g} {:%} {}'.format(5, 12345.678, 0.0001, 0.5, 1.0) }}
{{ '{}'.format() }}
{{ '%s %d %5.1f %r %%' % ('a', 3, 2.25, 'q') }}{{ '%s' % 5 }}{{ '%(a)s-%(b)05d' % {'a': 'x', 'b': 42} }}{{ '%x %X %o %#x %e %g' % (255, 255, 8, 255, 12345.678, 0.00001) }}{{ '%-5s|%5s|%+d|% d' % ('a', 'b', 3, 4) }}{{ '%s'|format('z') }}{{ '%(k)s'|format(k=1) }}{{ '%c%c' % (65, 'b') }}{{ '%.2s' % 'abc' }}{{ '%s' % [1] }}
{{ '%s %s' % 'a' }}
{{ '%s' % ('a', 'b') }}
{{ '%d' % 'x' }}
{{ l|length }}{{ s|length }}{{ u|length }}{{ d|count }}{{ el|length }}{{ missing|length }}
{{ 5|length }}
{{ l|first }}{{ l|last }}{{ s|first }}{{ s|last }}{{ el|first }}{{ d|first }}{{ d|last }}{{ (l|map('string'))|first }}
{{ (l|map('string'))|last }}
{{ l|sort }}{{ l|sort(reverse=true) }}{{ ls|sort }}{{ ls|sort(case_sensitive=true) }}{{ users|sort(attribute='age')|map(attribute='name')|list }}{{ users|sort(attribute='age,name')|map(attribute='name')|list }}{{ 'hello'|sort }}{{ users|sort(true, attribute='age')|map(attribute='name')|join(',') }}
{{ m|sort }}
{{ d|dictsort }}
{{ {'b': 1, 'A': 2}|dictsort }}{{ {'b': 1, 'A': 2}|dictsort(true) }}{{ {'b': 1, 'A': 2}|dictsort(by='value') }}{{ {'b': 1, 'A': 2}|dictsort(reverse=true) }}
{{ l|join }}{{ l|join(', ') }}{{ users|join('; ', attribute='name') }}{{ s|join('.') }}{{ m|join('|') }}{{ d|join('-') }}
{{ l|map('string')|join('+') }}{{ ls|map('upper')|list }}{{ users|map(attribute='name')|list }}{{ users|map(attribute='tags', default='none')|list }}{{ users|map(attribute='tags.0')|list }}{{ l|map('default', 5)|list }}{{ ['a b', 'c']|map('replace', ' ', '_')|list }}
{{ l|map('nofilter')|list }}
{{ l|map()|list }}
{{ el|map()|list }}{{ l|select|list }}{{ m|select|list }}{{ l|select('odd')|list }}{{ l|reject('odd')|list }}{{ l|select('gt', 1)|list }}{{ l|select('in', [1, 2])|list }}{{ m|reject|list }}{{ m|select('string')|list }}
{{ users|selectattr('tags')|map(attribute='name')|list }}{{ users|selectattr('age', 'eq', 30)|map(attribute='name')|list }}{{ users|rejectattr('age', 'gt', 26)|map(attribute='name')|list }}{{ users|selectattr('tags', 'defined')|list|length }}
{{ l|list }}{{ s|list }}{{ d|list }}{{ (1, 2)|list }}{{ missing|list }}
{{ [1, 2, 1, 'a', 'A']|unique|list }}{{ ['a', 'A']|unique(true)|list }}{{ users|unique(attribute='age')|map(attribute='name')|list }}
{{ l|reverse|list }}{{ s|reverse }}{{ d|reverse|list }}{{ u|reverse }}{{ (l|map('string'))|reverse }}
{{ l|sum }}{{ users|sum(attribute='age') }}{{ [[1], [2]]|sum(start=[]) }}{{ [0.1, 0.2]|sum }}{{ l|sum(start=10) }}{{ el|sum }}
{{ ls|sum }}
{{ l|min }}{{ l|max }}{{ ls|min }}{{ ls|max(case_sensitive=true) }}{{ users|max(attribute='age') }}{{ el|min }}{{ users|min(attribute='name') }}
{{ m|max }}
{{ l|batch(2)|list }}{{ l|batch(2, 'x')|list }}{{ l|slice(2)|list }}{{ [1,2,3,4,5,6,7]|slice(3)|list }}{{ [1,2,3,4]|slice(3, 'z')|list }}
{{ users|groupby('age') }}{% for g in users|groupby('age') %}{{ g.grouper }}:{{ g.list|length }};{% endfor %}{{ users|groupby('tags', default=['q']) }}{% for k, v in ['a', 'B', 'A']|groupby(0) %}{{ k }}{{ v }}{% endfor %}
{{ d|items|list }}{{ missing|items|list }}
{{ l|items|list }}
{{ num|int }}{{ fl|int }}{{ s|int }}{{ s|int(9) }}{{ '0x1F'|int(0, 16) }}{{ '1f'|int(0, 16) }}{{ '0b11'|int(0, 0) }}{{ 3.9|int }}{{ -3.9|int }}{{ nil|int }}{{ true|int }}{{ ' 5 '|int }}{{ '1_000'|int }}{{ ''|int }}{{ [1]|int }}{{ '1e3'|int }}
{{ num|float }}{{ fl|float }}{{ s|float }}{{ 5|float }}{{ nil|float(1.5) }}{{ '1e3'|float }}{{ 'inf'|float }}{{ ' .5 '|float }}{{ 'nan'|float }}{{ '1_0.5'|float }}{{ '0x10'|float }}
{{ missing|int }}
{{ 2.5|round }}{{ 3.5|round }}{{ 2.675|round(2) }}{{ 42|round }}{{ 1234.5|round(-2) }}{{ 1250|round(-2) }}{{ 2.1|round(0, 'ceil') }}{{ 2.9|round(method='floor') }}{{ 2.345|round(2, 'ceil') }}{{ 5|round(1, 'floor') }}{{ -2.5|round }}{{ 0.5|round|int }}
{{ s|round }}
{{ 1|round(0, 'x') }}
{{ neg|abs }}{{ -2.5|abs }}{{ true|abs }}
{{ s|abs }}
{{ 1.0 }} {{ 1e16 }} {{ 1e15 }} {{ 123456789.123 }} {{ 1e-5 }} {{ 0.0001 }} {{ -0.0 }} {{ 1e100 }} {{ 5e-324 }} {{ 1.7976931348623157e308 }} {{ 3.0e0 }} {{ 100000000000000000.0 }}
{{ missing|default('x') }}{{ e|default('x') }}{{ e|default('x', true) }}{{ nil|default('x') }}{{ nil|d('x', boolean=true) }}{{ missing|default }}{{ d.q|default(d.a) }}
{{ s|indent }}{{ 'a\\nb\\n\\nc'|indent }}|{{ 'a\\nb'|indent(2, true) }}|{{ 'a\\n\\nb'|indent('> ', blank=true) }}|{{ 'a\\nb\\n'|indent(1) }}|{{ ''|indent(2, true) }}|
{{ 5|indent }}
{{ 'foo bar baz qux'|truncate(9) }}|{{ 'foo bar baz qux'|truncate(9, true) }}|{{ 'foo bar baz qux'|truncate(11) }}|{{ 'foo bar baz qux'|truncate(11, false, '..', 0) }}|{{ 'short'|truncate }}|
{{ s|wordcount }}{{ u|wordcount }}{{ 'a_b c-d'|wordcount }}{{ html|escape }}{{ html|e }}{{ html|safe }}{{ html|forceescape }}{{ html|e|e }}{{ html|striptags }}{{ '<p>a  &lt; b</p><!-- c -->d'|striptags }}
{{ (html|safe) + '<' }}{{ '<' + (html|safe) }}{{ (html|safe) ~ '<' }}{{ ('<'|e) * 2 }}{{ (html|safe).upper() }}{{ '<'|safe|string + '>' }}{{ ('%s'|safe) % '<' }}{{ (','|safe).join(['<', '>']) }}{{ ['<'|e] }}
{{ s|urlencode }}{{ 'a/b c?é&'|urlencode }}{{ {'a b': 1, 'c': 'd&e'}|urlencode }}{{ [('x', 1), ('y', 'z/')]|urlencode }}{{ 5|urlencode }}
{{ {'class': 'a', 'x': none, 'id': '<'}|xmlattr }}{{ {'a': 1}|xmlattr(false) }}{{ 1000|filesizeformat }}{{ 1|filesizeformat }}{{ 999|filesizeformat }}{{ 1234567|filesizeformat }}{{ 1048576|filesizeformat(true) }}{{ 1e30|filesizeformat }}
{{ json|tojson }}{{ json|tojson(indent=2) }}{{ json|tojson(ensure_ascii=true) }}{{ json|tojson(separators=(',', ':')) }}{{ json|tojson(sort_keys=true) }}{{ json|tojson(indent='--') }}{{ [[], {}, [[]]]|tojson(indent=1) }}{{ '<>&\\''|tojson }}{{ none|tojson }}{{ true|tojson }}{{ 1.0|tojson }}{{ (1, 2)|tojson }}{{ {1: 2, none: 3, true: 4, 1.5: 5}|tojson }}{{ u|tojson(true) }}
{{ missing|tojson }}
{{ range(3)|tojson }}
{{ (l|map('string'))|tojson }}
{{ d.items()|tojson }}
{{ {(1, 2): 3}|tojson }}
{{ s is string }}{{ n is number }}{{ n is integer }}{{ t is integer }}{{ t is number }}{{ f is float }}{{ t is boolean }}{{ t is true }}{{ 1 is true }}{{ no is false }}{{ nil is none }}{{ d is mapping }}{{ l is sequence }}{{ s is sequence }}{{ d is sequence }}{{ missing is sequence }}{{ l is iterable }}{{ n is iterable }}{{ missing is iterable }}{{ d.keys() is sequence }}{{ range(3) is sequence }}{{ (l|map('string')) is sequence }}{{ (l|map('string')) is iterable }}
{{ missing is defined }}{{ missing is undefined }}{{ d.q is defined }}{{ d.a is not defined }}{{ l.append is defined }}{{ s.upper is callable }}{{ range is callable }}{{ missing is callable }}{{ n is callable }}{{ 'upper' is filter }}{{ 'zzz' is filter }}{{ 'odd' is test }}
{{ 3 is odd }}{{ 4 is even }}{{ 9 is divisibleby 3 }}{{ 9 is divisibleby(2) }}{{ 3 is eq 3 }}{{ 3 is equalto(4) }}{{ 3 is ne 4 }}{{ 3 is lt 4 }}{{ 3 is gt 4 }}{{ 3 is ge 3 }}{{ 3 is le 2 }}{{ 1 is in [1, 2] }}{{ 'a' is in 'abc' }}{{ 'abc' is lower }}{{ 'ABC' is upper }}{{ nil is sameas none }}{{ 1 is sameas true }}{{ html|e is escaped }}{{ 3 is not odd }}{{ s is not string and t }}{{ 1 is number is defined }}
{{ s is odd }}
{{ x is nosuchtest }}
{{ s|nosuchfilter }}
{% if no %}{{ s|nosuchfilter }}{% endif %}ok
{% if no %}{% for x in l %}{{ s|nosuchfilter }}{% endfor %}{% endif %}ok
{{ 1 if t else (s|nosuchfilter) }}
{{ (s|nosuchfilter) if no else 1 }}
{{ s.nosuch }}|{{ s.nosuch is defined }}|{{ n.real }}{{ f.is_integer() }}{{ n.bit_length() }}{{ true.real }}
{{ s.nosuch() }}
{{ n() }}
{{ s.__class__ }}|{{ s.__class__ is defined }}|{{ d.__len__ is defined }}
{{ s.__class__.__mro__ }}
{{ s|attr('upper') is callable }}{{ d|attr('a') is defined }}{{ s|attr('zz') }}
{{ d.update({}) }}
{{ d.copy() }}{{ l.copy() }}{{ d.update is defined }}{{ d.clear is defined }}
{% print s, n %}
{% set loop = 1 %}{{ loop }}
{% for loop in l %}{% endfor %}
{% for x in l %}{% set loop = 1 %}{% endfor %}
{% include 'x' %}
{% nosuchtag %}
{% if %}{% endif %}
{% if t %}
{% endif %}
{{ }}
{{ 1 + }}
{{ (1 }}
{{ 1) }}
{{ [1, 2 }}
{{ a b }}
{{ 'a' is not string not }}
{% macro m(a=1, b) %}{% endmacro %}
{% set 1 = 2 %}
{# unclosed
{% raw %}unclosed
{{ unclosed
{% unclosed
{{ *l }}
{{ dict(**{'a': 1}) }}{{ '{}{}'.format(*l) }}{{ dict(*[[('a', 1)]], b=2) }}
{{ dict(**l) }}
{{ dict(a=1, a=2) }}
{{ d['a', 'b'] }}|{{ d[missing] }}|{{ d[[]] }}|{{ l[1.5] }}|{{ l['append'] is defined }}|{{ l['count'](1) }}
{{ 1.5.real }}{{ l.1 }}{{ 'x'.upper().lower() }}{{ (s|upper).lower()|title }}{{ s.split(', ')[0].upper() }}{{ -l[0]|abs }}{{ -1|abs }}
{{ 10 - 2 - 3 }}{{ 2 * 3 % 4 }}{{ 1 ~ 2 + 3 }}{{ 1 + 2 ~ 3 * 2 }}{{ 'a' ~ 'b' * 2 }}{{ not true and false }}{{ 1 or 2 and 0 }}{{ 3 - -2 }}{{ +5 }}{{ - 3 }}{{ 2 - 1 if t else 0 }}
{{ none.x }}
{{ nil|trim }}{{ 5|trim }}{{ nil|lower }}{{ [1]|string }}{{ nil|string|length }}{{ missing|trim }}{{ missing|upper }}|{{ missing|string }}
{{ nil + 1 }}
{{ missing + 1 }}
{{ -s }}
{{ s - 1 }}
{{ l * l }}
{{ d < d }}
{{ nil < 1 }}
{{ missing < 1 }}
{{ missing == nil }}{{ missing == other }}{{ missing != 1 }}{{ [missing] }}{{ {'a': missing} }}{{ missing ~ 'x' }}{{ missing is none }}
{{ d.items() == d.items() }}{{ d.keys() }}{{ d.items()|first }}{{ d.values()|sum(start=0) if no else '' }}{{ d.keys()|list|sort }}{{ d.items()|length }}{{ d.keys()|last }}
{{ ['é', "it's", 'say "hi"', 'both \\' and "', 'tab\\t', '\\x00', '\\x7f', '\\u200b', '\\U0001F600', '\\xa0'] }}
{% generation %}a{{ n }}{% endgeneration %}b{% for x in l %}{% generation %}{{ x }}{% endgeneration %},{% endfor %}
{% set g = 1 %}{% generation %}{% set g = 2 %}{{ g }}{% endgeneration %}{{ g }}
{%- for message in messages_ -%}
  {%- if message.role == 'user' -%}U{%- else -%}A{%- endif -%}
{%- endfor %}
{% set a = namespace(l=[]) %}{% for x in l %}{% set a.l = a.l + [x * 2] %}{% endfor %}{{ a.l }}{{ a.l|tojson }}
{% set ns.x = 1 %}
{% set x = y = 1 %}
{{ n.__class__ }}{{ d['__len__'] is defined }}
{{ '\\u00df'.upper() }}{{ 'ﬁ'.upper() }}{{ 'İ'.lower() }}{{ 'ΌΣΟΣ ΑΣ'.lower() }}{{ 'Σ'.lower() }}{{ 'ŉ'.title() }}{{ 'ß'.capitalize() }}
{{ "a" "b" ~ "c" }}{{ "a"
 ~ "b" }}
{{ true }}{{ True }}{{ false }}{{ none }}{{ None }}{{ null }}
{{ lipsum is defined }}{{ namespace is callable }}{{ dict is defined }}
""".strip("\n")

MULTILINE = [
    "{% for m in messages_ %}\n    {% if m.role == 'user' %}\nUSER\n    {% else %}\n  OTHER\n    {% endif %}\n{% endfor %}\nend\n",
    "a\r\n  {% if t %}\r\nb\r\n{% endif %}\r\nc\r",
    "{{ s }}\n",
    "{{ s }}\n\n",
    "\n\n{% set x = 1 %}\n\n{{ x }}\n",
    "  {% if t %}x{% endif %}  {% if t %}y{% endif %}\n z",
    "{#- a -#}\n  b\n  {# c #}\n  d {# e #} f",
    "  {%- if t %}\n\n  x\n  {%- endif +%}\n\ny",
    "{{- s -}}\n  {{ n }}\n{{- '' }}",
    "{% raw %}\n  {{ x }}\n  {% endraw %}\n tail",
    "a {#",
    "a {% raw %}",
    "{% if t %}\n\ta\n\t{% endif %}\n\u00a0{% if t %}b{% endif %}",
    "{% macro m(a,\n  b) %}\n{{ a }}{{ b }}\n{% endmacro %}\n{{ m(\n1,\n2\n) }}",
    "{%for x in l%}{{x}}{%endfor%}{{l|length}}{{(1)}}",
    "x\n{%- set y = 1 %}\n\n  {%- set z = 2 -%}  \n w",
    "{% set x %}\n  a\n  {% if t %}\n  b\n  {% endif %}\n{% endset %}[{{ x }}]",
]


def snippets():
    return [line for line in SNIPPETS.split("\n") if line] + MULTILINE


class TooLong(BaseException):
    pass


def give_up(signum, frame):
    raise TooLong()


def expect(template, variables):
    try:
        return chat.oracle._compile_jinja_template(template).render(**variables)
    except Exception as error:
        expect.last_error = f"{type(error).__name__}: {error}"
        return None


class Generator:
    """Random expressions: typed loosely, so that most of them make sense and some do not."""
    NAMES = [n for n in VARIABLES if n != "messages_"] + ["missing"]
    STRINGS = ["", "a", "ab", ",", " ", "o", "l", "Hello", "é", "-", "x y", "1", "\\n", "世"]
    BINARY = ["+", "-", "*", "//", "/", "%", "~", "==", "!=", "<", ">", "<=", ">=", "in", "not in", "and", "or", "**"]
    FILTERS = ["upper", "lower", "trim", "length", "first", "last", "list", "sort", "join", "string", "int", "float", "abs",
               "round", "tojson", "title", "capitalize", "reverse|list", "unique|list", "sum", "min", "max", "default('q')",
               "d(1, true)", "escape", "join('-')", "map('string')|list", "map('upper')|join", "select|list", "reject|list",
               "select('string')|list", "indent(2)", "wordcount", "replace('a', 'b')", "batch(2)|list", "slice(2)|list",
               "items|list", "dictsort", "center(9)", "truncate(5)", "urlencode", "round(1)", "tojson(indent=1)",
               "sort(reverse=true)", "groupby(0)", "striptags", "safe", "map(attribute='a')|list", "map(attribute=0)|list",
               "selectattr('a')|list", "select('gt', 1)|list", "filesizeformat", "xmlattr", "format(1)", "e"]
    METHODS = ["upper()", "strip()", "split()", "split(',')", "title()", "lower()", "items()|list", "keys()|list",
               "values()|list", "get('a')", "startswith('H')", "endswith('d')", "replace('l', 'L')", "find('o')", "count('l')",
               "splitlines()", "isdigit()", "islower()", "isupper()", "partition(',')", "rsplit(',', 1)", "index(1)", "swapcase()",
               "rstrip('d')", "lstrip('H')", "zfill(5)", "center(7)", "format(1, 2)", "isalpha()", "casefold()", "copy()",
               "capitalize()", "join('abc')", "count(1)", "append(1)", "a", "b", "items", "nope", "expandtabs()", "istitle()"]
    TESTS = ["defined", "undefined", "none", "string", "number", "integer", "float", "mapping", "sequence", "iterable", "odd",
             "even", "true", "false", "boolean", "callable", "lower", "upper", "divisibleby 2", "eq 1", "gt 1", "in l", "sameas none",
             "escaped", "not none", "not string", "lt 'a'", "ne nil"]

    def __init__(self, seed):
        self.random = random.Random(seed)

    def atom(self):
        pick = self.random.random()
        if pick < 0.55:
            return self.random.choice(self.NAMES)
        if pick < 0.7:
            return repr(self.random.choice(self.STRINGS)).replace("\\\\", "\\")
        if pick < 0.85:
            return str(self.random.choice([0, 1, 2, 3, -1, 10, 255, 0.5, 1.5, 2.0, 1e20, -2.25]))
        return self.random.choice(["true", "false", "none", "[]", "{}", "()"])

    def expression(self, depth):
        if depth <= 0:
            return self.atom()
        inner = lambda: self.expression(depth - 1 - self.random.randrange(2))
        pick = self.random.randrange(14)
        if pick < 3:
            operator = self.random.choice(self.BINARY)
            # Python would compute big ** big for hours
            right = self.random.choice(["2", "3", "0.5", "(-1)"]) if operator == "**" else self.wrap(inner())
            return f"{self.wrap(inner())} {operator} {right}"
        if pick < 6:
            return f"{self.wrap(inner())}|{self.random.choice(self.FILTERS)}"
        if pick < 8:
            return f"{self.wrap(inner())}.{self.random.choice(self.METHODS)}"
        if pick == 8:
            return f"{self.wrap(inner())} is {self.random.choice(self.TESTS)}"
        if pick == 9:
            bounds = [self.random.choice(["", "0", "1", "2", "-1", "-2", "5"]) for _ in range(3)]
            index = ":".join(bounds[:self.random.randrange(1, 4)]) or inner()
            return f"{self.wrap(inner())}[{index}]"
        if pick == 10:
            items = ", ".join(inner() for _ in range(self.random.randrange(4)))
            return self.random.choice([f"[{items}]", f"({items},)" if items else "()"])
        if pick == 11:
            keys = ", ".join(f"{self.atom()}: {inner()}" for _ in range(self.random.randrange(3)))
            return f"{{{keys}}}"
        if pick == 12:
            return f"{self.wrap(inner())} if {self.wrap(inner())} else {self.wrap(inner())}"
        return self.random.choice(["not ", "-", "+"]) + self.wrap(inner())

    @staticmethod
    def wrap(text):
        return text if re.fullmatch(r"\w+|'[^']*'|\[.*\]", text) else f"({text})"

    def statement(self, depth):
        expression = lambda: self.expression(self.random.randrange(1, 4))
        if depth <= 0:
            return self.random.choice(["text", " \n ", "{{ " + expression() + " }}", "{{- " + expression() + " -}}", "  {# c #}\n"])
        body = lambda: "".join(self.statement(depth - 1) for _ in range(self.random.randrange(1, 3)))
        sign, close = self.random.choice(["", "-", "+"]), self.random.choice(["", "-"])
        begin, end = "{%" + sign + " ", " " + close + "%}"
        kind = self.random.randrange(8)
        name = self.random.choice(["x", "y", "s", "n"])
        if kind == 0:
            return f"{begin}if {expression()}{end}\n{body()}{begin}else{end}{body()}{begin}endif{end}\n"
        if kind == 1:
            return f"{begin}for {name} in {expression()}{end}{body()}{{{{ loop.index }}}}{begin}else{end}{body()}{begin}endfor{end}"
        if kind == 2:
            return f"{begin}set {name} = {expression()}{end}{body()}{{{{ {name} }}}}"
        if kind == 3:
            return f"{begin}set {name}{end}{body()}{begin}endset{end}{{{{ {name} }}}}"
        if kind == 4:
            return f"{begin}macro f({name}, q=1){end}{body()}{begin}endmacro{end}{{{{ f({expression()}) }}}}"
        if kind == 5:
            return f"{begin}filter upper{end}{body()}{begin}endfilter{end}"
        if kind == 6:
            return f"{begin}with {name} = {expression()}{end}{body()}{begin}endwith{end}"
        return f"  {begin}for {name} in l if {expression()}{end}\n{body()}{begin}endfor{end}\n"

    def template(self):
        if self.random.random() < 0.7:
            return "{{ " + self.expression(self.random.randrange(1, 5)) + " }}"
        return self.statement(self.random.randrange(1, 4))


ADDRESS = re.compile(r" object at 0x|<function|<built-in|<bound method|built-in method|generator object|reverseiterator")


def check(tool, count, seed):
    process = subprocess.Popen([tool], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    generator = Generator(seed)
    cases = snippets() + [generator.template() for _ in range(count)]
    wrong = raised = skipped = 0
    # Random programs may ask Python for a terabyte or a year.
    resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
    signal.signal(signal.SIGALRM, give_up)
    for template in cases:
        signal.alarm(5)
        try:
            expected = expect(template, VARIABLES)
        except TooLong:
            skipped += 1
            continue
        finally:
            signal.alarm(0)
        got = chat.ask(process, {"template": template, "variables": VARIABLES})
        raised += expected is None
        # jinja2 folds constants by other rules than it runs code: {{ 5[1:] }} is undefined, {% if 5[1:] %} raises
        folded = "cannot be sliced" in got.get("error", "")
        unavailable = (got.get("status") == "unsupported" or folded) and expected is not None
        if unavailable or (expected is not None and ADDRESS.search(expected)):
            skipped += 1
        elif got.get("text") != expected:
            wrong += 1
            if wrong <= 40:
                reason = expect.last_error if expected is None else ""
                print(f"--- {template!r}\nexpected {expected!r} {reason}\ngot      {got.get('text', got)!r}")
    process.stdin.close()
    print(f"{len(cases)} templates, {raised} raise, {skipped} not comparable, {wrong} differ")
    return wrong == 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", metavar="TOOL")
    parser.add_argument("--random", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    if options.write:
        rows = [[text, expect(text, VARIABLES)] for text in snippets()]
        rows = [json.dumps(row, ensure_ascii=True) for row in rows if not (row[1] and ADDRESS.search(row[1]))]
        text = json.dumps(VARIABLES) + ",\n\"vectors\": [\n" + ",\n".join(rows) + "\n]}\n"
        (HERE / "jinja_vectors.json").write_text('{"variables": ' + text)
    if options.check and not check(options.check, options.random, options.seed):
        sys.exit(1)


if __name__ == "__main__":
    main()
