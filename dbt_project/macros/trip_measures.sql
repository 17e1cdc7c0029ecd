{#-
    What every analyst adds to a trip by hand, and what makes a trip implausible. A trip is
    flagged, never dropped, and the thresholds stand here and nowhere else. A flag is null where
    what it rests on is missing.
-#}

{% macro duration_minutes() -%}
    round((date_part('epoch', dropoff_datetime - pickup_datetime) / 60)::numeric, 2)
{%- endmacro %}

{#- Null for trips without a duration, or with a negative one. -#}
{% macro speed_mph() -%}
    case
        when dropoff_datetime > pickup_datetime then round(
            trip_distance / (date_part('epoch', dropoff_datetime - pickup_datetime) / 3600)::numeric, 1
        )
    end
{%- endmacro %}

{% macro tip_share() -%}
    case when fare_amount > 0 then round(tip_amount / fare_amount, 4) end
{%- endmacro %}

{% macro is_dropoff_before_pickup() -%}
    dropoff_datetime < pickup_datetime
{%- endmacro %}

{% macro is_fare_without_distance() -%}
    trip_distance = 0 and fare_amount > 0
{%- endmacro %}

{% macro has_negative_amount() -%}
    least(fare_amount, tip_amount, tolls_amount, total_amount) < 0
{%- endmacro %}

{% macro is_outside_source_month() -%}
    pickup_datetime < source_month or pickup_datetime >= source_month + interval '1 month'
{%- endmacro %}
