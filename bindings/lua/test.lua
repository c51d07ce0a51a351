-- The flights in LuaJIT: `SOFTMIX_LIBRARY=path/to/libsoftmix.so luajit test.lua`.
local here = arg[0]:match("^(.*)/[^/]*$") or "."
package.path = here .. "/?.lua;" .. package.path
local ffi, softmix = require "ffi", require "softmix"

local items, row = {}, {}
local function lines(name)
    local file = assert(io.open(here .. "/../../data/" .. name))
    file:read()
    return file:lines()
end
for line in lines("flights_items.csv") do
    local dest, lat, lon, alt, tz, distance = line:match("^(%u+),.*,([^,]+),([^,]+),([^,]+),([^,]+),([^,]+)$")
    row[dest] = #items
    items[#items + 1] = {lat, lon, alt, tz, distance}
end
local p, L = #items, 5
local x, counts = ffi.new("double[?]", p * L), ffi.new("double[?]", p)
for i, item in ipairs(items) do
    for l = 1, L do
        x[(i - 1) * L + l - 1] = tonumber(item[l])
    end
end
for line in lines("flights_counts.csv") do
    local dest, n = line:match("^[^,]+,[^,]+,[^,]+,([^,]+),(%d+)")
    counts[row[dest]] = counts[row[dest]] + tonumber(n)
end

local calls = 0
local model = softmix.fit {features = x, rows = p, columns = L, counts = counts, classes = 2, progress = function(now)
    calls = calls + 1
    if calls == 1 then
        print(("%d starts drawn"):format(tonumber(now.drawn)))
    end
end}
assert(math.abs(model.log_likelihood + 1479194.617) < 1e-2 and model.outcome == "converged" and calls > 3)
local r = model:posterior()
for i = 0, p - 1 do
    assert(math.abs(r[2 * i] + r[2 * i + 1] - 1) < 1e-12)
end
print(("log-likelihood %.6f, weights %.4f and %.4f"):format(model.log_likelihood, model.weights[0], model.weights[1]))

for _, wrong in ipairs {2.7, 0, -1, 0 / 0, "2", {2, 3}} do
    local ok, e = pcall(softmix.fit, {features = x, rows = p, columns = L, counts = counts, classes = wrong})
    assert(not ok and tostring(e):find("classes: expected a whole number", 1, true), tostring(e))
end

-- Arrays that are too short for what is said of them are not read.
local short_arrays = {features = ffi.new("double[?]", p * L - 1), counts = ffi.new("double[12]"), offset = ffi.new("double[?]", p - 1)}
for name, short in pairs(short_arrays) do
    local t = {features = x, rows = p, columns = L, counts = counts, classes = 2}
    t[name] = short
    local ok, e = pcall(function() local model = softmix.fit(t) return model end)
    assert(not ok and tostring(e):find("test.lua:%d+: " .. name .. ": expected"), tostring(e))
end
local pointers = {features = ffi.cast("const double *", x), rows = p, columns = L, counts = ffi.cast("double *", counts), classes = 2}
assert(softmix.fit(pointers).log_likelihood == model.log_likelihood)

-- Whatever is wrong is named, by C where that knows, and places that it does not know are nil.
for _, case in ipairs {{"rows", 0, "rows: empty"}, {"rows", -1, "rows: expected"}, {"columns", 1.5, "columns: expected"}, {"ridge", "a", "ridge: "},
                       {"starts", 1.5, "starts: expected"}, {"threads", -1, "threads: expected"}, {"progress", 3, "progress: expected"},
                       {"classes", 1e9, "classes: more classes than units"}, {"clases", 2, "no field clases"}} do
    local t = {features = x, rows = p, columns = L, counts = counts, classes = 2}
    t[case[1]] = case[2]
    local ok, e = pcall(softmix.fit, t)
    assert(not ok and tostring(e):find(case[3], 1, true), tostring(e))
    if type(e) == "table" then
        assert(e.row == nil and e.column == nil and e.class_index == nil and (case[1] == "classes") == (e.needed ~= nil), tostring(e))
    end
end

local single, whole = ffi.new("float[?]", p * L), ffi.new("int32_t[?]", p * L)
for j = 0, p * L - 1 do
    single[j] = x[j]
end
assert(math.abs(softmix.fit {features = single, rows = p, columns = L, counts = counts, classes = 2}.log_likelihood + 1479194.578) < 1e-2)
assert(softmix.fit {features = x + 0, rows = p, columns = L, counts = counts, classes = 2}.log_likelihood == model.log_likelihood)
for _, wrong in ipairs {whole, {1, 2}, "2", 3} do
    local ok, e = pcall(softmix.fit, {features = wrong, rows = p, columns = L, counts = counts, classes = 2})
    assert(not ok and tostring(e):find("features: expected doubles or floats", 1, true), tostring(e))
end

for name, wrong in pairs {rows = -2LL, row_stride = 1.5, column_stride = -1, counts = single, offset = {1, 2}, set_offsets = x, units = 3, weights = x} do
    local t = {features = x, rows = p, columns = L, counts = counts, classes = 2}
    t[name] = wrong
    local ok, e = pcall(function() local model = softmix.fit(t) return model end)
    local named = (name == "units" or name == "weights") and "indptr: missing, but " .. name .. " is there" or name .. ": expected"
    assert(not ok and tostring(e):find("test.lua:%d+: " .. named), tostring(e))
end

-- A panel: two choice sets of four alternatives with two features, an offset, five units that chose in both, with counts and weights, and a
-- ridge; the log-likelihood is that of its definition.
local function doubles(...) return ffi.new("double[?]", select("#", ...), ...) end
local panel = {features = doubles(0, 0, 1, 0, 0, 1, 1, 1, 2, 0, 0, 2, -1, 1, 1, -1), rows = 8, columns = 2, sets = 2,
               set_offsets = ffi.new("size_t[3]", 0, 4, 8), offset = doubles(0, 0.5, -0.5, 0.25, 0, 1, 0, -1), units = 5, entries = 10,
               indptr = ffi.new("size_t[6]", 0, 2, 4, 6, 8, 10), indices = ffi.new("size_t[10]", 0, 5, 1, 4, 2, 6, 3, 7, 0, 6),
               counts = doubles(2, 1, 1, 3, 2, 1, 1, 1, 2, 2), weights = doubles(1, 2, 1, 3, 1), classes = 2, ridge = 1, starts = 12}
local fitted = softmix.fit(panel)
local total, posterior = 0, fitted:posterior()
for u = 0, 4 do
    local joint = {}
    for k = 0, 1 do
        local function logit(i)
            return panel.features[2 * i] * fitted.atoms[2 * k] + panel.features[2 * i + 1] * fitted.atoms[2 * k + 1] + panel.offset[i]
        end
        local log_probability = 0
        for e = tonumber(panel.indptr[u]), tonumber(panel.indptr[u + 1]) - 1 do
            local i, z = tonumber(panel.indices[e]), 0
            for j = i < 4 and 0 or 4, i < 4 and 3 or 7 do
                z = z + math.exp(logit(j))
            end
            log_probability = log_probability + panel.counts[e] * (logit(i) - math.log(z))
        end
        joint[k] = fitted.weights[k] * math.exp(log_probability)
    end
    total = total + panel.weights[u] * math.log(joint[0] + joint[1])
    assert(math.abs(posterior[2 * u] - joint[0] / (joint[0] + joint[1])) < 1e-12)
end
assert(math.abs(total - fitted.log_likelihood) < 1e-9 and fitted.starts == 12, total)

x[3 * L + 2] = 0 / 0
local ok, e = pcall(softmix.fit, {features = x, rows = p, columns = L, counts = counts, classes = 2})
assert(not ok and e.status == softmix.constants.SMX_NOT_FINITE and e.row == 3 and e.column == 2, tostring(e))
assert(tostring(e) == "features: not a finite number at row 3, column 2")
x[3 * L + 2] = 0
ok, e = pcall(softmix.fit, {features = x, rows = p, columns = L, counts = counts, classes = 2, progress = function() error("mine", 0) end})
assert(not ok and e == "mine")
assert(softmix.fit {features = x, rows = p, columns = L, counts = counts, classes = 2, progress = function() return false end}.outcome == "cancelled")
print("lua: ok")
