{#-
    Two faults that only the order of the file's rows can show, marked in a month's table once it is
    filled.

    `wrong_clock`: since 2020, TLC's taxi files stand in the order of the hour in which a trip really
    began, shuffled within the hour, those without a way of payment at the end. A pickup that is more
    than an hour and a half from the median of the 41 rows around it was recorded by a clock that is
    wrong; the hour of those around it is its own. Looked at are only the rows that are an hour from
    the median of their block of 40. Where the order means nothing (older files, samples, files that
    somebody has sorted or shuffled), the middle half of most blocks spans more than two hours, or
    vendor 1's rows say so, whose clocks are right: no more than one in a hundred of them is wrong then.

    `refunded`: a refund of vendor 2 is followed by its original, with the same times, zones and miles
    and the opposite money. The refund says how the trip was paid in the end: not at all.
-#}
{% macro mark_by_file_order(trips) %}
    {%- set is_paid = 'payment_type_id <> 0' -%}
    {#- The last steps are for few rows, which are looked up by their key: PostgreSQL can't know it of a
        table that has no statistics yet. -#}
    {{ return([
        "create temporary table blocks on commit drop as
        select
            block,
            quartiles[2] as median,
            quartiles[3] - quartiles[1] > interval '2 hours' as is_scattered,
            trips_of_vendor_1
        from (
            select
                source_row / 40 as block,
                percentile_disc(array[0.25, 0.5, 0.75]) within group (order by pickup_datetime) as quartiles,
                count(*) filter (where vendor_id = 1) as trips_of_vendor_1
            from " ~ trips ~ "
            where " ~ is_paid ~ "
            group by source_row / 40
        ) as blocks",

        "create temporary table far_from_their_block on commit drop as
        select
            trips.trip_id,
            trips.vendor_id,
            trips.pickup_datetime
        from " ~ trips ~ " as trips
        inner join blocks on trips.source_row / 40 = blocks.block
        where
            trips." ~ is_paid ~ "
            and (
                trips.pickup_datetime < blocks.median - interval '1 hour'
                or trips.pickup_datetime > blocks.median + interval '1 hour'
            )
            and (select count(*) filter (where is_scattered) * 2 < count(*) from blocks)",

        "create temporary table refunds on commit drop as
        select * from " ~ trips ~ "
        where total_amount < 0 and " ~ is_paid,

        "set local enable_nestloop = on; set local enable_hashjoin = off",

        "create temporary table marks_of_file_order on commit drop as
        with of_vendor_1 as materialized (
            select sum(trips_of_vendor_1) as row_count
            from blocks
        ),

        around as materialized (
            select
                far.trip_id,
                far.vendor_id,
                far.pickup_datetime,
                percentile_disc(0.5) within group (order by near.pickup_datetime) as median
            from far_from_their_block as far
            inner join " ~ trips ~ " as near
                on near.trip_id between far.trip_id - 20 and far.trip_id + 20 and near." ~ is_paid ~ "
            group by far.trip_id, far.vendor_id, far.pickup_datetime
        ),

        wrong as materialized (
            select *
            from around
            where abs(extract(epoch from pickup_datetime - median)) > 5400
        )

        select
            trip_id,
            array_agg(fault) as faults,
            max(pickup_hour) as pickup_hour,
            max(payment_type_id) as payment_type_id
        from (
            select
                trip_id,
                'wrong_clock' as fault,
                date_trunc('hour', median) as pickup_hour,
                null::smallint as payment_type_id
            from wrong
            where
                vendor_id <> 1
                and (select row_count from of_vendor_1) >= 100
                and (select count(*) from wrong where vendor_id = 1) * 100
                <= (select row_count from of_vendor_1)

            union all

            select
                original.trip_id,
                'refunded' as fault,
                null as pickup_hour,
                case when refund.payment_type_id in (3, 4) then refund.payment_type_id end as payment_type_id
            from refunds as refund
            inner join " ~ trips ~ " as original
                on
                    refund.trip_id + 1 = original.trip_id
                    and refund.source_month = original.source_month
                    and refund.vendor_id = original.vendor_id
                    and refund.pickup_datetime = original.pickup_datetime
                    and refund.dropoff_datetime = original.dropoff_datetime
                    and refund.total_amount = -original.total_amount
            where
                original." ~ is_paid ~ "
                and refund.pickup_location_id is not distinct from original.pickup_location_id
                and refund.dropoff_location_id is not distinct from original.dropoff_location_id
                and refund.trip_distance is not distinct from original.trip_distance
                and refund.fare_amount is not distinct from -original.fare_amount
        ) as marks
        group by trip_id",

        "update " ~ trips ~ " as trips
        set
            faults = array_cat(
                case
                    when date_trunc('month', marks.pickup_hour) = trips.source_month
                        then array_remove(trips.faults, 'outside_source_month')
                    else trips.faults
                end, marks.faults
            ),
            pickup_hour_in_file_order = marks.pickup_hour,
            payment_type_id = coalesce(marks.payment_type_id, trips.payment_type_id)
        from marks_of_file_order as marks
        where trips.trip_id = marks.trip_id"
    ]) }}
{% endmacro %}
