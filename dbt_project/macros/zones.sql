{#-
    The zones of trips of which TLC gives coordinates, as its files did until mid-2016.

    The seed taxi_zone_pieces has TLC's zones cut by a grid, so that a trip is joined to the few pieces of
    its cell, in parallel. What is in none of them has no zone: 0,0, which meters without a signal write,
    the sea, New Jersey, and whatever a broken meter makes up. Its numbers are those of tools/taxi_zones.py.
-#}

{#- Rows of trips with `pickup_zone_found` and `dropoff_zone_found`: the zone of the coordinates, where the
    file has no zone of its own. For a row that has one, nothing is computed or looked up. -#}
{% macro with_zones_found(dataset, trips) -%}
(
    select
        located.*,
        pickup_pieces.location_id as pickup_zone_found,
        dropoff_pieces.location_id as dropoff_zone_found
    from (
        select
            *,
            {{ units_from('pickup', 'longitude', '-74.3', '0.013719') }} as pickup_x,
            {{ units_from('pickup', 'latitude', '40.4', '0.007253') }} as pickup_y,
            {{ units_from('dropoff', 'longitude', '-74.3', '0.013719') }} as dropoff_x,
            {{ units_from('dropoff', 'latitude', '40.4', '0.007253') }} as dropoff_y,
            {{ read_once() }} as located_at
        from {{ with_faults(dataset, trips, "source_month < '2017-01-01'") }}
    ) as located
    left join {{ ref('taxi_zone_pieces') }} as pickup_pieces
        on {{ is_in_piece('pickup') }}
    left join {{ ref('taxi_zone_pieces') }} as dropoff_pieces
        on {{ is_in_piece('dropoff') }}

    union all

    -- TLC's files have coordinates until mid-2016. Later months have nothing to look up, and no part of this.
    select
        *,
        null::double precision as pickup_x,
        null::double precision as pickup_y,
        null::double precision as dropoff_x,
        null::double precision as dropoff_y,
        null::timestamptz as located_at,
        null::smallint as pickup_zone_found,
        null::smallint as dropoff_zone_found
    from {{ with_faults(dataset, trips, "source_month >= '2017-01-01'") }}
)
{%- endmacro %}


{#- Millionths of a degree from the grid's corner. A millimetre aside, because a point on the border of two
    zones would be in both: tools/taxi_zones.py has seen that so far aside there is no border. -#}
{% macro units_from(end, axis, corner, aside) -%}
    case
        when {{ end }}_location_id is null
            then round({{ end }}_{{ axis }}::double precision * 1e6) - ({{ corner }}) * 1e6 + {{ aside }}
    end
{%- endmacro %}


{#- The cell alone is no answer: of coordinates that are far away, it is one that is elsewhere. -#}
{% macro is_in_piece(end) -%}
    {{ end }}_pieces.cell
            = floor(located.{{ end }}_x / 5000)::bigint * 1000 + floor(located.{{ end }}_y / 5000)::bigint
        and {{ end }}_pieces.shape @> point(located.{{ end }}_x, located.{{ end }}_y)
{%- endmacro %}


{#- TLC's own zone wins. -#}
{% macro location_id(end) -%}
    coalesce({{ end }}_location_id, {{ end }}_zone_found)
{%- endmacro %}

{% macro zone_from(end) -%}
    case
        when {{ end }}_location_id is not null then 'file'
        when {{ end }}_zone_found is not null then 'coordinates'
    end
{%- endmacro %}
