{#-
    What is known to be wrong in TLC's rows: how each fault is recognised, once, and what follows from
    it for a trip's values. Each name has its row in the seed known_faults, which says what it is, how
    sure that is, and where it is from. A trip with a fault is marked, never dropped.

    The rules read the columns of a staging model. What a rule begins with is what most trips fail, so
    that they cost little. The two faults that only the order of the file's rows can show,
    `wrong_clock` and `refunded`, are in macros/file_order.sql.
-#}
{% macro faults_of(dataset) %}
    {%- set rules = {
        'outside_source_month':
            "pickup_datetime < source_month or pickup_datetime >= source_month + interval '1 month'",
        'dropoff_before_pickup':
            "dropoff_datetime < pickup_datetime and (" ~ clocks_went_back_between() ~ ") is not true",
    } -%}
    {%- if dataset == 'green' -%}
        {%- do rules.update({
            'pickup_time_unknown':
                "vendor_id = 2 and pickup_longitude = 0 and pickup_datetime::time = '00:00'
                and source_month < '2015-01-01'",
        }) -%}
    {%- endif -%}
    {%- if dataset in ['yellow', 'green'] -%}
        {%- do rules.update(faults_of_taxis(dataset)) -%}
    {%- else -%}
        {%- do rules.update({'implausibly_long': is_long()}) -%}
    {%- endif -%}
    {%- if dataset != 'fhv' -%}
        {%- do rules.update({
            'implausibly_fast': "dropoff_datetime > pickup_datetime and trip_distance * (3600.0 /"
                ~ fastest_mph() ~ ") > " ~ duration_seconds(),
            'fare_without_distance': "trip_distance = 0 and fare_amount > 0",
        }) -%}
    {%- endif -%}
    {%- if dataset == 'fhvhv' -%}
        {%- do rules.update({
            'negative_amount': "least(fare_amount, tip_amount, tolls_amount) < 0",
        }) -%}
    {%- endif -%}
    {%- do rules.update({
        'clock_change': "(" ~ clocks_went_forward_between() ~ " or " ~ clocks_went_back_between() ~ ")",
        'doubled_hour': touches_doubled_hour(),
    }) -%}
    {{ return(rules) }}
{% endmacro %}


{#- A row of a taxi without a way of payment, which has neither passengers, nor rate, nor congestion
    surcharge. -#}
{% macro is_without_payment() -%} coalesce(payment_type_id, 0) = 0 {%- endmacro %}

{% macro is_long() -%} dropoff_datetime > pickup_datetime + interval '{{ longest_hours() }} hours' {%- endmacro %}


{% macro faults_of_taxis(dataset) %}
    {{ return({
        'dropoff_a_day_late':
            "vendor_id = 2 and (" ~ is_long() ~ " or source_month >= '2015-01-01' and dropoff_datetime::time = '00:00')",
        'implausibly_long':
            "vendor_id is distinct from 2 and " ~ is_long(),
        'month_for_minutes':
            "(
                vendor_id = 6 and pickup_datetime < '2025-06-25'
                or vendor_id is null and pickup_location_id = 265 and pickup_datetime >= '2020-09-07'
            )
            and date_part('minute', pickup_datetime) = date_part('month', pickup_datetime)
            and date_part('minute', dropoff_datetime) = date_part('month', dropoff_datetime)",
        'dropoff_is_pickup':
            "vendor_id = 7 and dropoff_datetime = pickup_datetime",
        'fare_typed_in_later':
            "rate_code_id = 5 and dropoff_datetime < pickup_datetime + interval '1 minute'",
        'beyond_200_miles':
            "trip_distance > 200",
        'paratransit':
            "vendor_id = 6",
        'prearranged':
            "vendor_id = 1 and payment_type_id = 1 and trip_distance = 0 and tip_amount = 0
            and fare_amount > 4 and pickup_datetime < '2025-06-10'",
        'refund':
            "total_amount < 0 and payment_type_id <> 0",
        'unpaid':
            "vendor_id = 1 and payment_type_id in (3, 4)",
        'negative_fare':
            "fare_amount < 0 and " ~ is_without_payment(),
        'negative_amount':
            "least(fare_amount, tip_amount, tolls_amount) < 0 and total_amount >= 0 and payment_type_id <> 0",
        'surcharge_in_total_alone':
            is_without_payment() ~ " and abs(" ~ beyond_columns(dataset) ~ ") in (2.5, 2.75, 3.5)",
        'fee_in_total_alone':
            "vendor_id = 2 and payment_type_id <> 0
            and abs(" ~ beyond_columns(dataset) ~ ") in (1.95, 2.5, 3.9, 5, 1.25, 1.75)",
        'subway_fare_as_tip':
            is_without_payment() ~ " and tip_amount = 2.75
            and pickup_datetime >= '2020-04-01' and pickup_datetime < '2022-01-01'",
        'cbd_fee_not_shown':
            is_without_payment() ~ " and pickup_datetime >= '2025-01-05' and pickup_datetime < '2025-02-24'
            and cbd_congestion_fee is null and abs(" ~ beyond_columns(dataset) ~ ") in (0.75, 3.25, 3.5)",
        'jfk_rate_elsewhere':
            "rate_code_id = 2 and pickup_location_id <> 132 and dropoff_location_id <> 132",
    }) }}
{% endmacro %}


{#- What of a total no column of the file shows. Each vendor's columns as TLC's dictionary has them: of
    vendor 1's they are added up otherwise, in models/marts/trips/trip_charges.sql. -#}
{% macro beyond_columns(dataset) -%}
    (
        total_amount - fare_amount - coalesce(extra, 0) - coalesce(mta_tax, 0) - coalesce(tip_amount, 0)
        - coalesce(tolls_amount, 0) - coalesce(improvement_surcharge, 0) - coalesce(congestion_surcharge, 0)
        - coalesce({{ 'airport_fee' if dataset == 'yellow' else 'ehail_fee' }}, 0) - coalesce(cbd_congestion_fee, 0)
    )
{%- endmacro %}


{#-
    What most trips are asked instead: each is true wherever the rules are that it stands for, costs less,
    and is seldom true elsewhere. A rule that has none is asked itself.
-#}
{% macro hints_of(dataset) %}
    {%- set clock = is_sunday() ~ " and date_part('month', dropoff_datetime) in (3, 11)" -%}
    {%- set hints = {
        'outside_source_month':
            "pickup_datetime < source_month or pickup_datetime >= source_month + 28
            and pickup_datetime >= source_month + interval '1 month'",
        'dropoff_before_pickup': "dropoff_datetime < pickup_datetime",
        'clock_change': clock,
        'doubled_hour': clock,
    } -%}
    {%- if dataset in ['yellow', 'green'] -%}
        {%- set late = is_long() ~ " or vendor_id = 2 and dropoff_datetime::time = '00:00'" -%}
        {%- set negative = "least(fare_amount, tip_amount, tolls_amount, total_amount) < 0" -%}
        {%- set not_added_up = "(vendor_id = 2 or " ~ is_without_payment() ~ ") and " ~ beyond_columns(dataset) ~ " <> 0" -%}
        {%- set nowhere = "trip_distance = 0 and fare_amount > 0" -%}
        {%- set other_clock = "vendor_id = 6 or vendor_id is null and pickup_location_id = 265" -%}
        {%- do hints.update({
            'dropoff_a_day_late': late, 'implausibly_long': late,
            'refund': negative, 'negative_fare': negative, 'negative_amount': negative,
            'surcharge_in_total_alone': not_added_up, 'fee_in_total_alone': not_added_up,
            'cbd_fee_not_shown': not_added_up,
            'prearranged': nowhere, 'fare_without_distance': nowhere,
            'month_for_minutes': other_clock, 'paratransit': other_clock,
        }) -%}
    {%- endif -%}
    {{ return(hints) }}
{% endmacro %}


{#- The names of a trip's faults, in one array; null for the many trips without any. -#}
{% macro faults(dataset) -%}
    {%- set rules, hints = faults_of(dataset), hints_of(dataset) -%}
    {%- set asked = [] -%}
    {%- for name, rule in rules.items() -%}
        {%- do asked.append(hints.get(name, rule)) -%}
    {%- endfor -%}
    case
        when
            {%- for condition in asked | unique %}
            {{ 'or ' if not loop.first }}({{ condition }})
            {%- endfor %}
            then nullif(array_remove(array[
                {%- for name, rule in rules.items() %}
                case when {{ rule }} then '{{ name }}' end{{ ',' if not loop.last }}
                {%- endfor %}
            ], null), '{}')
    end
{%- endmacro %}


{% macro has_fault(names) -%}
    faults && array['{{ names | join("', '") }}']
{%- endmacro %}


{#- The rows of a dataset's staging model with their faults, as a query in brackets. -#}
{% macro with_faults(dataset, trips, condition='true') -%}
(
    select
        *,
        {{ faults(dataset) }} as faults,
        {{ read_once() }} as marked_at
    from {{ trips }}
    where {{ condition }}
) as marked
{%- endmacro %}


{#- The faults that say that a column's value is lost. -#}
{% macro faults_that_lose(column) %}
    {{ return({
        'trip_distance': ['beyond_200_miles', 'prearranged'],
        'fare_amount': ['paratransit', 'negative_fare'],
        'tip_amount': ['paratransit', 'subway_fare_as_tip'],
    }[column]) }}
{% endmacro %}


{#- A column of the file, or null where its value is lost. Of tips that are paid in cash TLC's 0 says
    nothing. -#}
{% macro unless_lost(column) -%}
    case
        when {{ has_fault(faults_that_lose(column)) }} then null::numeric(14, 4)
        {%- if column == 'tip_amount' %}
        when payment_type_id = 2 and tip_amount = 0 then null::numeric(14, 4)
        {%- endif %}
        else {{ column }}
    end
{%- endmacro %}


{#- Minutes that are lost leave the hour. -#}
{% macro to_the_hour_if_lost(column) -%}
    case when {{ has_fault(['month_for_minutes']) }} then date_trunc('hour', {{ column }}) else {{ column }} end
{%- endmacro %}


{% macro duration_is_lost() -%}
    {{ has_fault([
        'dropoff_a_day_late', 'month_for_minutes', 'dropoff_is_pickup', 'fare_typed_in_later', 'pickup_time_unknown',
        'doubled_hour',
    ]) }}
{%- endmacro %}


{#-
    New York's clocks go forward at 02:00 on March's second Sunday, and back at 02:00 on November's
    first one (since 2007). Times are the wall clock's, without a zone. The day is the dropoff's; a
    trip over it as a whole is none.
-#}
{% macro is_day_of_clock_change(month, first_day) -%}
    {{ is_sunday() }}
    and date_part('month', dropoff_datetime) = {{ month }}
    and date_part('day', dropoff_datetime) between {{ first_day }} and {{ first_day + 6 }}
    and pickup_datetime >= dropoff_datetime::date - 1
{%- endmacro %}

{#- Of a dropoff. Days are counted: a part of a date costs four times as much. -#}
{% macro is_sunday() -%} (dropoff_datetime::date - date '2000-01-02') % 7 = 0 {%- endmacro %}

{#- What a clock says from 02:00 to 02:59 was not put forward, and is taken as it is. -#}
{% macro clocks_went_forward_between() -%}
    {{ is_day_of_clock_change(3, 8) }}
    and pickup_datetime < dropoff_datetime::date + time '02:00' and dropoff_datetime::time >= '03:00'
{%- endmacro %}

{#- Where no other reading is possible: from before the hour that comes twice to after it, or back in it. -#}
{% macro clocks_went_back_between() -%}
    {{ is_day_of_clock_change(11, 1) }}
    and (
        pickup_datetime < dropoff_datetime::date + time '01:00' and dropoff_datetime::time >= '02:00'
        or dropoff_datetime < pickup_datetime
        and pickup_datetime < dropoff_datetime::date + time '02:00' and dropoff_datetime::time >= '01:00'
    )
{%- endmacro %}

{#- Where a trip may have taken an hour more than the clock says, or not. -#}
{% macro touches_doubled_hour() -%}
    {{ is_day_of_clock_change(11, 1) }}
    and pickup_datetime <= dropoff_datetime
    and (
        dropoff_datetime::time >= '01:00' and dropoff_datetime::time < '02:00'
        or pickup_datetime >= dropoff_datetime::date + time '01:00'
        and pickup_datetime < dropoff_datetime::date + time '02:00'
    )
{%- endmacro %}

{#- What is to be added to the clock's difference, in seconds. -#}
{% macro seconds_of_clock_change() -%}
    case
        when {{ has_fault(['clock_change']) }}
            then case when date_part('month', dropoff_datetime) = 3 then -3600 else 3600 end
        else 0
    end
{%- endmacro %}
