{#-
    Returns the months of which more than half of the trips are of bases that the dictionary lacks, with
    the number of these bases and of their trips. Less than that is ordinary: bases come and go, the
    list is of one time, and such a base is shown by its number.
-#}
{% test most_bases_are_known(model, dictionary) %}
    select
        trips.source_month,
        count(distinct trips.dispatching_base_num) filter (where bases.base_num is null)
            as unknown_bases,
        count(*) filter (where bases.base_num is null) as their_trips,
        count(*) as trips
    from (select * from {{ model }}) as trips
    left join {{ dictionary }} as bases on trips.dispatching_base_num = bases.base_num
    where trips.dispatching_base_num is not null
    group by trips.source_month
    having count(*) filter (where bases.base_num is null) > 0.5 * count(*)
{% endtest %}
