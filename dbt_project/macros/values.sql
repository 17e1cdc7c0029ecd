{#-
    How a text of TLC's becomes a value, in two steps, each for one column of text.

    1. `reading(text, type)`: what PostgreSQL reads, null where it would raise an error.
    2. `value(text, type, reading)`: that, if it is a value as TLC or a common copy of its files
       writes it, within the bounds below; else null.

    PostgreSQL alone reads too much: `0x10` and `1_000` are numbers to it, `12:00 today` is the day
    of the build, `2021-01-02 +3:04:05` is midnight in some zone. So a reading counts at once only
    if PostgreSQL writes it back exactly as it is in the file, or if it is too short to be odd. That
    is so for nearly all of TLC's values, and costs a fraction of a regular expression. Other ways of
    writing have expressions of their own, with [0-9] where \d would take the digits of any script.

    Types: smallint (codes and counts), numeric, timestamp, text, and code, which is text in upper
    case. Bounds, here and nowhere else:
    - smallint: 0 to 32767. TLC's largest code is 265; a meter's count of passengers has one byte.
    - numeric: up to 9 digits before the point, up to 40 characters, exponents up to 29. TLC's
      largest distance is 328,522 miles; sums of doubles leave numbers like 1e-17 in place of 0.
    - timestamp: 1900 to 9999. TLC has pickups in 2098 and dropoffs in 3019; a computer that has
      lost the date writes 1900 or 1970.
    With these, no difference, quotient or sum of values overflows.
-#}

{% macro reading(text, type) -%}
    {%- if type == 'smallint' -%}
        case when pg_input_is_valid({{ text }}, 'smallint') then {{ text }}::smallint end
    {%- elif type == 'numeric' -%}
        case when pg_input_is_valid({{ text }}, 'numeric(9, 0)') then {{ text }}::numeric end
    {%- elif type == 'timestamp' -%}
        case
            when {{ text }} like '____-__-__ __:__:__' and pg_input_is_valid({{ text }}, 'timestamp')
                then {{ text }}::timestamp
        end
    {%- elif type == 'code' -%}
        upper({{ unless_blank(text) }})
    {%- else -%}
        {{ unless_blank(text) }}
    {%- endif -%}
{%- endmacro %}


{% macro unless_blank(text) -%}
    nullif(btrim({{ text }}, e' \t\n\013\f\r'), '')
{%- endmacro %}


{#-
    A column, computed beside the readings, that makes PostgreSQL read once.

    It is volatile, so PostgreSQL does not merge this step with the one around it, where it would
    read a value again for each use. `offset 0` would do the same, but keep the condition on the
    month from reaching the raw table.
-#}
{% macro read_once() -%}
    clock_timestamp()
{%- endmacro %}


{#- `reading` is the column with `reading(text, type)`; `spellings` has the code of each word. -#}
{% macro value(text, type, reading, spellings=none) -%}
    case
        when {{ text }} is null then null
        {%- if type in ('text', 'code') and not spellings %}
        else {{ reading }}
        {%- elif type == 'smallint' %}
        when octet_length({{ text }}) = 1 and {{ reading }} is not null then {{ reading }}
        when {{ reading }}::text = {{ text }} and {{ reading }} >= 0 then {{ reading }}
        {%- elif type == 'numeric' %}
        when octet_length({{ text }}) < 3 or {{ text }} like '_._' then {{ reading }}
        when
            {{ reading }}::text = {{ text }}
            and {{ text }} <> 'NaN'
            and octet_length({{ text }}) <= 40
            then {{ reading }}
        when {{ text }} like '.__' and {{ reading }}::text = '0' || {{ text }} then {{ reading }}
        {%- elif type == 'timestamp' %}
        when {{ reading }}::text = {{ text }} and {{ reading }} >= '1900-01-01' then {{ reading }}
        {%- endif %}
        {%- if type == 'text' and spellings %}
        when {{ text }} in ('{{ spellings.values() | unique | join("', '") }}') then {{ text }}
        {%- endif %}
        {%- if spellings %}
        when {{ 'true' if type == 'text' else is_word(text) }} then
            case lower(btrim({{ text }}, e' \t\n\013\f\r"\'') collate "C")
                {%- for spelling, code in spellings.items() %}
                when '{{ spelling }}' then {{ code if code is number else "'" ~ code ~ "'" }}
                {%- endfor %}
            end::{{ type }}
        {%- endif %}
        {%- if type == 'smallint' %}
        when {{ is_number(text) }} then
            case
                when {{ text }}::numeric between 0 and 32767 and {{ text }}::numeric % 1 = 0
                    then {{ text }}::numeric::smallint
            end
        {%- elif type == 'numeric' %}
        when {{ is_number(text) }} then
            case when abs({{ text }}::numeric) < 1000000000 then {{ text }}::numeric end
        {%- elif type == 'timestamp' %}
        when octet_length({{ text }}) <= 40 then
            case
                when pg_input_is_valid({{ iso_datetime(text) }}, 'timestamp')
                    then {{ iso_datetime(text) }}::timestamp
            end
        {%- endif %}
    end
{%- endmacro %}


{#- `1`, `-2.5`, `+3`, `.50`, `1.`, `1e0`, `9.00E-02`, blanks around. PostgreSQL reads each of them. -#}
{% macro is_number(text) -%}
    octet_length({{ text }}) <= 40
    and {{ text }} ~ '^[ \t-\r]*[-+]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][-+]?[0-2]?[0-9])?[ \t-\r]*$'
{%- endmacro %}


{#-
    A date and time with the year first, which PostgreSQL reads alike under all its settings.

    From `2016-01-01T00:29:24.000`, `2021-01-01 0:30`, `2021-01-01`, and month first, as New York
    writes it: `01/31/2021 0:30`, `3/25/2017 8:55:43 AM`. Null for all else.
-#}
{% macro iso_datetime(text) -%}
    {%- set blanks = '[ \\t-\\r]*' -%}
    {%- set year = '(19|[2-9][0-9])[0-9]{2}' -%}
    {%- set month_and_day = '[0-9]{1,2}/[0-9]{1,2}' -%}
    {%- set minutes = ':[0-5][0-9](:[0-5][0-9]([.][0-9]{1,6}0{0,3})?)?' -%}
    {%- set time = '([01]?[0-9]|2[0-3])' ~ minutes -%}
    {%- set half_day_time = '(0?[1-9]|1[0-2])' ~ minutes ~ ' ?[AaPp][Mm]' -%}
    case
        when {{ text }} ~ '^{{ blanks }}{{ year }}-[0-9]{2}-[0-9]{2}([ T]{{ time }})?{{ blanks }}$'
            then {{ text }}
        when {{ text }} ~ '^{{ blanks }}{{ month_and_day }}/{{ year }}( ({{ time }}|{{ half_day_time }}))?{{ blanks }}$'
            then regexp_replace({{ text }}, '^{{ blanks }}([0-9]+)/([0-9]+)/([0-9]+)', '\3-\1-\2')
    end
{%- endmacro %}


{#- A text in the place of a code: printable ASCII, not blank, and without a digit. -#}
{% macro is_word(text) -%}
    {{ text }} ~ '^[ -/:-~\t-\r]*[!-/:-~][ -/:-~\t-\r]*$'
{%- endmacro %}


{#- Whether a text is not blank and yet has no value. A word without a code is not lost: its trip
    counts, without the code. -#}
{% macro is_lost(name, spelled) -%}
    (
        {{ name }} is null
        and {{ name }}_text is not null
        and {{ name }}_text ~ '[^ \t-\r]'
        {{ 'and not ' ~ is_word(name ~ '_text') if spelled }}
    )
{%- endmacro %}

{% macro any_lost(typed_columns, spellings) -%}
    {%- set either = joiner('or ') -%}
    {%- for name, type, raw_names in typed_columns if type not in ('text', 'code') %}
    {{ either() }}{{ is_lost(name, name in spellings) }}
    {%- endfor %}
{%- endmacro %}


{#- Each lost text by the name of its column in the file, and what it should be. -#}
{% macro rejection_reasons(typed_columns, spellings) -%}
    {%- set wanted = {
        'smallint': 'a whole number from 0 to 32767',
        'numeric': 'a number of up to 9 digits before the point',
        'timestamp': 'a date and time from 1900 to 9999',
    } -%}
    concat_ws(
        '; '
        {%- for name, type, raw_names in typed_columns if type not in ('text', 'code') %},
        case
            when {{ is_lost(name, name in spellings) }} then
                {{ name_in_file(raw_names) }} || ' ' || {{ quoted(name ~ '_text') }}
                || ' is not {{ wanted[type] }}'
        end
        {%- endfor %}
    )
{%- endmacro %}


{#- Each word that is in the place of a code and has none. -#}
{% macro unknown_spellings(typed_columns, spellings) -%}
    {%- if not spellings -%} {{ return('null::text') }} {%- endif -%}
    nullif(concat_ws(
        '; '
        {%- for name, type, raw_names in typed_columns if name in spellings %},
        case
            when
                {{ name }} is null
                and {{ name ~ "_text ~ '[^ \\t-\\r]'" if type == 'text' else is_word(name ~ '_text') }}
                then '{{ name }} ' || {{ quoted(name ~ '_text') }}
        end
        {%- endfor %}
    ), '')
{%- endmacro %}


{#- A text in quotes, in one line, and no more than its beginning if it is long. -#}
{% macro quoted(text) -%}
    '''' || regexp_replace(left({{ text }}, 30), '[[:cntrl:]]', '?', 'g')
    || case when length({{ text }}) > 30 then '…''' else '''' end
{%- endmacro %}


{#- A file has a column under one of its names; a code it may have under two, one of them blank. -#}
{% macro first_there(table, type, raw_names) -%}
    {%- set columns = [] -%}
    {%- for raw_name in raw_names -%}
        {%- set column = table ~ '.' ~ raw_name -%}
        {%- do columns.append(unless_blank(column) if type == 'code' else column) -%}
    {%- endfor -%}
    {{ 'coalesce(' ~ columns | join(', ') ~ ')' if columns | length > 1 else columns[0] }}
{%- endmacro %}

{#- Which of its names a column has in the file of a lost row. -#}
{% macro name_in_file(raw_names) -%}
    {%- if raw_names | length == 1 -%}
        '{{ raw_names[0] }}'
    {%- else -%}
        (
            select min(key) from jsonb_object_keys(jsonb_strip_nulls(to_jsonb(raw_row))) as key
            where key in ('{{ raw_names | join("', '") }}')
        )
    {%- endif -%}
{%- endmacro %}
