-- Which files a load was read from, as flows/tlc/formats.py describes a part, in their order, and which
-- of them a malformed line is from, counted from 1: from these the line of each row in its file is
-- known. Null of loads from before.
alter table raw.loads add column files jsonb;
alter table raw.malformed_lines add column file_number int;
