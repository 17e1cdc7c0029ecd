{#-
    How a text in a file becomes a value, in two steps, each for one column of text.

    1. `reading(text, type)`: what PostgreSQL reads, null where it would raise an error.
    2. `value(text, type, reading)`: that, if it is a value as TLC or a common copy of its files
       writes it, within the bounds below; else null.

    PostgreSQL alone reads too much: `0x10` and `1_000` are numbers to it, `12:00 today` is the day
    of the build, `2021-01-02 +3:04:05` is midnight in some zone. So a reading counts at once only
    if PostgreSQL writes it back exactly as it is in the file, or if it is too short to be odd. That
    is so for nearly all of TLC's values, and costs a fraction of a regular expression. Other ways of
    writing have expressions of their own, with [0-9] where \d would take the digits of any script;
    only a text that is not plain gets that far.

    type       text in the file                             accepted as            by
    ---------  -------------------------------------------  ---------------------  ----------------
    smallint   1, 265                                       itself                 reading
               1.0, ` 2 `, 1e0, +3, "4"                     1, 2, 1, 3, 4          is_number
               CSH, cash, "Cash", No Charge                 its code               spellings
               Credit card, JFK, Street-hail                its code               code_of_word
               Barter, Rate A (in the place of a code)      null, and a warning    is_word
               -1, 1.5, 99999, two (for a count)            rejects its row
    numeric    1, -2.5, 2.6299999999999999                  1, -2.5, 2.63          reading
               .50                                          0.50                   reading
               1., +3, 9.00E-02, ` 7 `, "7.5"               1, 3, 0.09, 7, 7.5     is_number
               12,50, 0x10, 1e400, Infinity                 rejects its row
    timestamp  2021-01-31 13:05:00                          itself                 reading
               2021-01-31T13:05, 2021/1/31, "2021-01-31"    year first             written_times
               1/31/2021 13:05, 1/31/2021, 1:05:00 PM       month first            written_times
               2021 Jan 31 01:05:00 PM, 31-Jan-2021         the month by name      written_times
               2021-01-31T13:05:00Z, … UTC, … +00:00        13:05 in New York      written_times
               31/01/2021 13:05, 1612098300, … -05:00       rejects its row
    text       Y, N, n, 1.0, yes, true (a flag)             Y or N                 spellings
               *, 8                                         null, and a warning
    code       B02764, ` b02764`                            B02764                 reading
               Uber (where the dictionary has it)           HV0003                 code_of_word
    all        blank, NA, N/A, NULL, NaN, None, \N, -       null                   is_nothing

    Blanks, quotes and backslashes around a value don't count (`bare`): Spark writes
    `"\"2021-01-31\""`, others `"""2021-01-31"""`.

    TLC writes New York's wall clock, without a zone. A tool that can't do without one (BigQuery,
    Spark, pandas, DuckDB, dlt) calls these times UTC, so UTC means no more than that it was such a
    tool. The loader refuses a month in which it means more: whose trips begin when the month does
    in UTC (flows/warehouse/staged.py). Of another zone or offset nobody can tell what happened to the time.

    Bounds, here and nowhere else:
    - smallint: 0 to 32767. TLC's largest code is 265; a meter's count of passengers has one byte.
    - numeric: up to 9 digits before the point, up to 80 characters, exponents up to 29. TLC's
      largest distance is 328,522 miles; sums of doubles leave numbers like 1e-17 in place of 0. Money and
      miles are rounded to four decimals, and degrees to six: TLC's finer digits are a double's noise.
    - timestamp: 1900 to 9999. TLC has pickups in 2098 and dropoffs in 3019; a computer that has
      lost the date writes 1900 or 1970.
    With these, no difference, quotient or sum of values overflows.

    A numeric has its scale declared, from here to the marts: many clients make a float of one without, or
    cut it. Four decimals for money, since theirs of a ratio or a mean are often those of its parts.
-#}

{% macro reading(text, type) -%}
    {%- if type == 'smallint' -%}
        case when pg_input_is_valid({{ text }}, 'smallint') then {{ text }}::smallint end
    {%- elif type.startswith('numeric') -%}
        case when pg_input_is_valid({{ text }}, 'numeric(9, 0)') then {{ text }}::numeric end
    {%- elif type == 'timestamp' -%}
        case
            when {{ text }} like '____-__-__ __:__:__' and pg_input_is_valid({{ text }}, 'timestamp')
                then {{ text }}::timestamp
        end
    {%- else -%}
        upper({{ unless_blank(text) }})
    {%- endif -%}
{%- endmacro %}


{% macro unless_blank(text) -%}
    nullif(btrim({{ text }}, e' \t\n\013\f\r'), '')
{%- endmacro %}


{#- A text without what stands around it: blanks, quotes, backslashes, and Excel's `="…"`. -#}
{% macro bare(text) -%}
    btrim({{ text }}, e' \t\n\013\f\r"''\\=')
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


{#-
    reading: the column with `reading(text, type)`.
    spellings: the code of each word, in lower case; none where no words are known.
    dictionary: the code's name in stg_tlc__words; none where TLC's dictionary has no words for it.
-#}
{% macro value(text, type, reading, spellings=none, dictionary=none) -%}
    {{ '(' if type.startswith('numeric') }}case
        when {{ text }} is null then null
        {%- if type == 'smallint' %}
        when octet_length({{ text }}) = 1 and {{ reading }} is not null then {{ reading }}
        when {{ reading }}::text = {{ text }} and {{ reading }} >= 0 then {{ reading }}
        when {{ text }} = '' then null
        {%- if spellings is not none %}
        when {{ is_word(text) }} then {{ code_of(text, type, spellings, dictionary) }}
        {%- endif %}
        {%- for number in [text, bare(text)] %}
        when {{ is_number(number) }} then
            case
                when {{ number }}::numeric between 0 and 32767 and {{ number }}::numeric % 1 = 0
                    then {{ number }}::numeric::smallint
            end
        {%- endfor %}
        {%- elif type.startswith('numeric') %}
        when octet_length({{ text }}) < 3 or {{ text }} like '_._' then {{ reading }}
        when
            {{ reading }}::text = {{ text }}
            and {{ text }} <> 'NaN'
            and octet_length({{ text }}) <= 80
            then {{ reading }}
        when {{ text }} like '.__' and {{ reading }}::text = '0' || {{ text }} then {{ reading }}
        {%- for number in [text, bare(text)] %}
        when {{ is_number(number) }} then
            case when abs({{ number }}::numeric) < 1000000000 then {{ number }}::numeric end
        {%- endfor %}
        {%- elif type == 'timestamp' %}
        when {{ reading }}::text = {{ text }} and {{ reading }} >= '1900-01-01' then {{ reading }}
        when octet_length({{ text }}) between 8 and 60 then {{ written_times(text) }}
        {%- elif type == 'text' %}
        when {{ text }} in ('Y', 'N') then {{ text }}
        else {{ code_of(text, type, spellings, dictionary) }}
        {%- else %}
        when {{ reading }} like 'B0____' or {{ reading }} like 'HV000_' then {{ reading }}
        when octet_length({{ text }}) = 1 and {{ text }} collate "C" between 'A' and 'Z' then {{ text }}
        when {{ is_nothing(text) }} then null
        else {{ code_of(text, type, spellings or {}, dictionary, otherwise='upper(' ~ bare(text) ~ ')') }}
        {%- endif %}
    end{{ ')::' ~ type if type.startswith('numeric') }}
{%- endmacro %}


{#- `1`, `-2.5`, `+3`, `.50`, `1.`, `1e0`, `9.00E-02`, blanks around. PostgreSQL reads each of them. -#}
{% macro is_number(text) -%}
    octet_length({{ text }}) <= 80
    and {{ text }} ~ '^[ \t-\r]*[-+]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][-+]?[0-2]?[0-9])?[ \t-\r]*$'
{%- endmacro %}


{#-
    The other ways of writing a date and time, brought into one that PostgreSQL reads alike under all
    its settings: the year first, or the month by its name.

    A day and a month in numbers alone are month first, as New York writes them, and with a comma
    only where AM or PM says that it is New York that writes. Null for all else.
-#}
{% macro written_times(text) -%}
    {%- set year = '(?:19|[2-9][0-9])[0-9]{2}' -%}
    {%- set number = '[0-9]{1,2}' -%}
    {%- set month = '(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?'
        ~ '|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)' -%}
    {%- set minutes = ':[0-5][0-9](?::[0-5][0-9](?:[.][0-9]{1,6}0{0,3})?)?' -%}
    {%- set utc = '(?: ?(?:z|utc|gmt|[+-]00(?::?00)?))?' -%}
    {%- set time = '(?:[01]?[0-9]|2[0-3])' ~ minutes ~ utc -%}
    {%- set half_day_time = '(?:0?[1-9]|1[0-2])' ~ minutes ~ ' ?[ap]m' -%}
    {%- set forms = [
        (year ~ '-[0-9]{2}-[0-9]{2}(?:[ t]' ~ time ~ ')?', none),
        (year ~ '(?:-' ~ number ~ '-|/' ~ number ~ '/)' ~ number ~ '(?:[ t]' ~ time ~ '|,? ' ~ half_day_time ~ ')?', none),
        (number ~ '/' ~ number ~ '/' ~ year ~ '(?: ' ~ time ~ '|,? ' ~ half_day_time ~ ')?', ('([0-9]+)/([0-9]+)/([0-9]+)', '\\3-\\1-\\2')),
        (year ~ '[- ]' ~ month ~ '[- ]' ~ number ~ '(?:,? (?:' ~ time ~ '|' ~ half_day_time ~ '))?', none),
        (number ~ '[- ]' ~ month ~ '[- ]' ~ year ~ '(?:,? (?:' ~ time ~ '|' ~ half_day_time ~ '))?', ('([0-9]+)[- ]([a-z]+)[- ]([0-9]+)', '\\3-\\2-\\1')),
        (month ~ ' ' ~ number ~ ',? ' ~ year ~ '(?:,? (?:' ~ time ~ '|' ~ half_day_time ~ '))?', ('([a-z]+) ([0-9]+),? ([0-9]+)', '\\3-\\1-\\2')),
    ] -%}
    {#- JavaScript has a narrow blank before PM, and writes p.m. for Canadians. -#}
    {%- set written -%}
        case
            when {{ text }} ~* '[ap](m|[.]m[.])$'
                then regexp_replace({{ bare(text) }}, '[ \u00a0\u202f]?([ap])[.]?m[.]?$', ' \1m', 'i')
            else {{ bare(text) }}
        end
    {%- endset -%}
    case
        {%- for form, date in forms %}
        {%- set iso = "regexp_replace(" ~ written ~ ", '^" ~ date[0] ~ "', '" ~ date[1] ~ "', 'i')" if date else written %}
        when {{ written }} ~* '^{{ form }}$' then
            case when pg_input_is_valid({{ iso }}, 'timestamp') then ({{ iso }})::timestamp end
        {%- endfor %}
    end
{%- endmacro %}


{#- A text in the place of a code: printable ASCII without a digit, or two letters and anything. -#}
{% macro is_word(text) -%}
    {{ text }} ~ '^[ -/:-~\t-\r]*[!-/:-~][ -/:-~\t-\r]*$|^[ \t-\r"''\\=]*[A-Za-z\u00c0-\u024f]{2}'
{%- endmacro %}


{#- What stands in the place of a value that is not there: as R, pandas, Spark, SQL and others write it. -#}
{% macro is_nothing(text) -%}
    {%- set blanks = '[ \\t-\\r"\'\']*' -%}
    {%- set around = '[ \\t-\\r"\'\'\\\\=]*' -%}
    {%- set words = '#?n/?a|n[.]a[.]|<na>|nan|nat|nil|none|null|[(<]null[)>]|undefined|-+' -%}
    {{ text }} ~* '^{{ around }}({{ words }})?{{ around }}$|^{{ blanks }}\\+n{{ blanks }}$'
{%- endmacro %}


{#- The code of a word, by the spellings in TLC's files or else by TLC's dictionary. -#}
{% macro code_of(text, type, spellings, dictionary, otherwise=none) -%}
    {%- set codes = [] -%}
    {%- if spellings -%}
        {%- set code -%}
            case
                when {{ text }} like '%\\%' and {{ is_nothing(text) }} then null  -- \N is no N
                else
                    case lower({{ bare(text) }} collate "C")
                        {%- for spelling, code in spellings.items() %}
                        when '{{ spelling }}' then {{ code if code is number else "'" ~ code ~ "'" }}
                        {%- endfor %}
                    end
            end::{{ 'smallint' if type == 'smallint' else 'text' }}
        {%- endset -%}
        {%- do codes.append(code) -%}
    {%- endif -%}
    {%- if dictionary -%}
        {%- set code -%}
            case when not {{ is_nothing(text) }} then {{ code_of_word(text, type, dictionary) }} end
        {%- endset -%}
        {%- do codes.append(code) -%}
    {%- endif -%}
    {%- if otherwise -%}
        {%- do codes.append(otherwise) -%}
    {%- endif -%}
    {{ 'coalesce(' ~ codes | join(', ') ~ ')' if codes | length > 1 else codes[0] }}
{%- endmacro %}


{#- The code of a word in TLC's dictionary. All of its words are looked up once, and not each one where
    it stands: that would be done in one process. -#}
{% macro code_of_word(text, type, dictionary) -%}
    (
        (
            select jsonb_object_agg(words.word, words.code)
            from {{ ref('stg_tlc__words') }} as words
            where words.code_of = '{{ dictionary }}'
        ) ->> lower({{ bare(text) }} collate "C") collate "default"
    ){{ '::smallint' if type == 'smallint' }}
{%- endmacro %}


{#- Whether a text is there and yet has no value. A word without a code is not lost: its trip
    counts, without the code. -#}
{% macro is_lost(name, spelled) -%}
    (
        {{ name }} is null
        and {{ name }}_text is not null
        and not {{ is_nothing(name ~ '_text') }}
        {{ 'and not (' ~ is_word(name ~ '_text') ~ ')' if spelled }}
    )
{%- endmacro %}

{% macro any_lost(lossy_columns, spellings) -%}
    {%- set either = joiner('or ') -%}
    {%- for name, type, raw_names in lossy_columns %}
    {{ either() }}{{ is_lost(name, name in spellings) }}
    {%- endfor %}
{%- endmacro %}


{#- Each lost text by the name of its column in the file, and what it should be. -#}
{% macro rejection_reasons(lossy_columns, spellings) -%}
    {%- set wanted = {
        'smallint': 'a whole number from 0 to 32767',
        'numeric': 'a number of up to 9 digits before the point',
        'timestamp': 'a date and time from 1900 to 9999',
    } -%}
    concat_ws(
        '; '
        {%- for name, type, raw_names in lossy_columns %},
        case
            when {{ is_lost(name, name in spellings) }} then
                {{ name_in_file(raw_names) }} || ' ' || {{ quoted(name ~ '_text') }}
                || ' is not {{ wanted[type.split('(')[0]] }}'
        end
        {%- endfor %}
    )
{%- endmacro %}


{#- Each word that is in the place of a code and has none. (A dataset may be without codes: so the null.) -#}
{% macro unknown_spellings(typed_columns, spellings) -%}
    nullif(concat_ws(
        '; ', null
        {%- for name, type, raw_names in typed_columns if name in spellings and type != 'code' %}
        , case
            when
                {{ name }} is null
                and not {{ is_nothing(name ~ '_text') }}
                {{ 'and (' ~ is_word(name ~ '_text') ~ ')' if type != 'text' }}
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
        case
            {%- for raw_name in raw_names | sort %}
            when jsonb_strip_nulls(to_jsonb(raw_row)) ? '{{ raw_name }}' then '{{ raw_name }}'
            {%- endfor %}
        end
    {%- endif -%}
{%- endmacro %}
