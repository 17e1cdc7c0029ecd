{#-
    Refuse a month of which more rows are rejected than its load has allowed (raw.loads.rejected_share),
    before its trips take the place of those that are there. The loader has looked at a sample of the
    rows, or by other rules, if the macros have changed since.

    trips: the table of the month's trips; trip_count: how many they are. Rows that are neither trips nor
        rejected have no passengers, so a month with few rows left out is not read again.
-#}
{% macro refuse_rejected_rows(month, trips, trip_count) %}
    {#- As a decimal fraction: 0.29 * 100 is less than 29. -#}
    {%- set row_count, share = rows_of(
        "select row_count, coalesce(rejected_share, 1)::numeric from " ~ source('tlc', 'loads')
        ~ " where load_id = " ~ month.load_id
    )[0] -%}
    {%- set allowed = share * row_count -%}
    {%- if row_count - trip_count <= allowed -%} {{ return(none) }} {%- endif -%}
    {%- set rejected_count, reason = rows_of(
        "select count(*), split_part(min(rejection_reasons), '; ', 1) from "
        ~ ref('stg_tlc__' ~ month.dataset ~ '_trips')
        ~ " where source_month = '" ~ month.source_month ~ "' and is_rejected and source_row <@ "
        ~ rows_left_out(month, trips)
    )[0] -%}
    {%- if rejected_count > allowed -%}
        {{ exceptions.raise_compiler_error(
            month.dataset ~ ' ' ~ month.source_month.strftime('%Y-%m') ~ ': ' ~ rejected_count ~ ' of '
            ~ row_count ~ ' rows are rejected, where ' ~ '%.1f' % (100 * share) ~ ' % may be: '
            ~ reason ~ '. Its trips stay as they were. Load the right file of the month, or allow '
            ~ 'it: load it with force and limits.rejected_share'
        ) }}
    {%- endif -%}
{% endmacro %}
