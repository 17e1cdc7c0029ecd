{#-
    What a relation is made by, and what a test asks, each as a hash: a month that was built by other
    code is built again, and one that another test has seen is tested again.
-#}

{#- The code of the model that is being built: its SQL after all macros, its columns and constraints,
    and the code of the views and seeds that it reads, as they are in the database. That of tables is
    known month by month. Lines of comments, the layout and the database's name don't count. -#}
{% macro code_of_model(ddl='') %}
    {%- set statements = ((sql or '') ~ after_filling('')) | replace('"' ~ target.database ~ '".', '') -%}
    {%- set words = modules.re.sub('(?m)^[ \\t]*--.*', '', statements).split() -%}
    {%- set read = [] -%}
    {%- for id in nodes_below(model) -%}
        {%- do read.append("'" ~ name_of_node(graph.nodes[id]) ~ "'") -%}
    {%- endfor -%}
    {%- set codes = ask(
        "string_agg(relation || ' ' || code, ' ' order by relation) from " ~ source('bookkeeping', 'built_code')
        ~ " where relation in (" ~ read | join(', ') ~ ")"
    ) if read -%}
    {{ return(local_md5(words | join(' ') ~ ddl ~ codes)) }}
{% endmacro %}


{#- The models and seeds that a node reads itself. Told by how their ids begin: to look one up in `graph.nodes`
    makes a dictionary of it, and `id in graph.nodes` does too. -#}
{% macro nodes_below(node) %}
    {%- set found = [] -%}
    {%- for id in node.depends_on.nodes if id.startswith(('model.', 'seed.')) -%}
        {%- do found.append(id) -%}
    {%- endfor -%}
    {{ return(found) }}
{% endmacro %}


{#- The tables that a model reads, by itself or through views: what its months are made of. -#}
{% macro tables_below(node, found) %}
    {%- for id in nodes_below(node) -%}
        {%- set below = graph.nodes[id] -%}
        {%- set is_table = below.config.materialized in ['partitioned_by_month', 'incremental_by_month'] -%}
        {%- if is_table and "'" ~ name_of_node(below) ~ "'" not in found -%}
            {%- do found.append("'" ~ name_of_node(below) ~ "'") -%}
        {%- elif below.resource_type == 'model' and not is_table -%}
            {%- do tables_below(below, found) -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(found) }}
{% endmacro %}


{#- Whether a model reads raw rows, by itself or through views. -#}
{% macro reads_raw_rows(node) %}
    {%- for id in node.depends_on.nodes -%}
        {%- if id.startswith('source.') and id.endswith('_tripdata') -%}
            {{ return(true) }}
        {%- elif id.startswith('model.') -%}
            {%- set below = graph.nodes[id] -%}
            {%- if below.config.materialized == 'replaced_view' and reads_raw_rows(below) -%}
                {{ return(true) }}
            {%- endif -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(false) }}
{% endmacro %}


{% macro name_of_node(node) %}
    {{ return(node.schema ~ '.' ~ node.alias) }}
{% endmacro %}


{#- The code of the test that is being run: its own, and that of the macros of this project below it. -#}
{% macro code_of_test() %}
    {%- set parts = [model.raw_code, model.test_metadata | string] -%}
    {%- for name in macros_below(model.depends_on.macros, []) | sort -%}
        {%- do parts.append(context[name].macro.macro_sql) -%}
    {%- endfor -%}
    {{ return(local_md5(parts | join(' '))) }}
{% endmacro %}


{% macro macros_below(ids, found) %}
    {%- for id in ids -%}
        {%- set name = id.split('.')[-1] -%}
        {%- if id.split('.')[1] == project_name and name not in found -%}
            {%- do found.append(name) -%}
            {%- do macros_below(context[name].macro.depends_on.macros, found) -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(found) }}
{% endmacro %}


{#- Remember the code of a view or a seed, for the tables that are built of it. -#}
{% macro remember_code(relation, code) %}
    {% do run(
        "insert into " ~ source('bookkeeping', 'built_code') ~ " as built (relation, code)
        values ('" ~ name_of(relation) ~ "', '" ~ code ~ "')
        on conflict (relation) do update set code = excluded.code where built.code <> excluded.code"
    ) %}
{% endmacro %}
