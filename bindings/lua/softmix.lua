-- Softmax mixtures for LuaJIT: one file over the C library. The header is read as it is, so nothing is declared twice.
--
--     local softmix = require "softmix"
--     local model = softmix.fit{features = x, rows = p, columns = L, counts = n, classes = 2}   -- x, n: double[] of the ffi
--     print(model.log_likelihood, model.outcome, model.weights[0], model.atoms[k * L + l])
--
-- SOFTMIX_LIBRARY names the shared library (default: what the system finds), SOFTMIX_HEADER the header (default: beside this
-- file's repository, then /usr/local/include and /usr/include). Arrays are those of the ffi and are not copied.
--
-- Not here, but in C and Python: standard errors, choice probabilities, scans of the number of classes, starts of one's own, shards, the
-- choice of an instruction set and the phase in single precision. softmix.C is all of C, softmix.new makes its structs, softmix.constants
-- are its constants.

local ffi = require "ffi"

local function read(paths)
    for _, path in ipairs(paths) do
        local file = io.open(path)
        if file then
            local text = file:read("*a")
            file:close()
            return text
        end
    end
    error("softmix.h is not there: set SOFTMIX_HEADER to its path")
end

local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local header = read {os.getenv("SOFTMIX_HEADER") or "", here .. "/../../include/softmix.h", "/usr/local/include/softmix.h",
                     "/usr/include/softmix.h"}

-- Constants, then declarations: what is left without comments and the preprocessor.
local softmix, constants = {}, {}
for name, value in header:gmatch("\n#define (SMX_%u[%w_]*) %(?(%-?%d+)%)?") do
    constants[name] = tonumber(value)
end
softmix.constants = constants
local declarations = header:gsub("/%*.-%*/", ""):gsub("#ifdef __cplusplus.-#endif", ""):gsub("\n#[^\n]*", "\n")
ffi.cdef(declarations)
ffi.cdef "void *malloc(size_t size); void free(void *memory);"
local C = ffi.load(os.getenv("SOFTMIX_LIBRARY") or "softmix")
softmix.C = C
assert(math.floor(C.smx_version() / 1000) == constants.SMX_VERSION_MAJOR * 1000 + constants.SMX_VERSION_MINOR,
       "the library has another version than the header")

-- A struct of the API with its defaults.
local function new(name)
    local struct = ffi.new(name)
    assert(C[name .. "_init"](struct, ffi.sizeof(name)) == 0)
    return struct
end
softmix.new = new

-- SMX_NONE: what is not known. A negative double is another size_t in some versions.
local none = ffi.cast("size_t", -1LL)

-- Calls f(..., error); an error is thrown as a table with status, argument, row, column, class_index and a text.
local texts = {__tostring = function(e) return e.text end}
local function call(f, ...)
    local record = new("smx_error")
    local arguments, n = {...}, select("#", ...)
    arguments[n + 1] = record
    if f(unpack(arguments, 1, n + 1)) == 0 then
        return
    end
    local buffer = ffi.new("char[256]")
    C.smx_error_format(record, buffer, 256)
    local e = {status = record.status, argument = ffi.string(record.argument), text = ffi.string(buffer)}
    for _, name in ipairs {"row", "column", "class_index", "needed", "given"} do
        if record[name] ~= none then
            e[name] = tonumber(record[name])
        end
    end
    error(setmetatable(e, texts), 0)
end

local function workspace(size)
    if size == none then
        return nil, 0
    end
    -- Arrays of the ffi hold less than 2 GiB.
    local memory = ffi.C.malloc(size)
    if memory == nil then
        error("no memory for a workspace of " .. tostring(size) .. " bytes", 0)
    end
    return ffi.gc(memory, ffi.C.free), size
end

-- What the collector does not know the size of is not left to it.
local function release(memory)
    if memory then
        ffi.C.free(ffi.gc(memory, nil))
    end
end

local outcomes = {"converged", "iteration_limit", "stalled", "diverging", "cancelled"}

-- Whether values are of this type, as the ffi sees it.
local function are(kind, values)
    return (pcall(function() ffi.new("const " .. kind .. " *[1]")[0] = values end))
end

-- A field that is a whole number, of the ffi or not; where it is missing, `otherwise`, if there is one.
local function whole(t, name, least, otherwise, level)
    local n = t[name]
    if n == nil and otherwise then
        return otherwise
    end
    local number = type(n) == "cdata" and tonumber(n) or n
    if type(number) ~= "number" or number < least or number ~= math.floor(number) or number >= 2 ^ 64 then
        error(("%s: expected a whole number from %d, got %s"):format(name, least, tostring(n)), level + 1)
    end
    return n
end

-- Arrays of the ffi know their lengths; pointers do not, and are believed.
local function enough(t, name, needed, element)
    local values = t[name]
    if type(values) ~= "cdata" then
        return
    end
    local kind = tostring(ffi.typeof(values))
    if not kind:find("[", 1, true) or kind:find("*", 1, true) then
        return
    end
    local given = ffi.sizeof(values) / ffi.sizeof(element)
    if given < needed then
        error(("%s: expected %d numbers, got %d"):format(name, needed, given), 5)
    end
end

-- What the sizes say of the lengths of all arrays.
local function check_lengths(t, data)
    local rows, columns, units, entries = tonumber(data.rows), tonumber(data.columns), tonumber(data.units), tonumber(data.entries)
    local row_stride, column_stride = tonumber(data.row_stride), tonumber(data.column_stride)
    row_stride, column_stride = row_stride == 0 and columns or row_stride, column_stride == 0 and 1 or column_stride
    if rows > 0 and columns > 0 then
        local element = data.dtype == constants.SMX_F64 and "double" or "float"
        enough(t, "features", (rows - 1) * row_stride + (columns - 1) * column_stride + 1, element)
    end
    enough(t, "offset", rows, "double")
    enough(t, "set_offsets", tonumber(data.sets) + 1, "size_t")
    if t.indptr then
        enough(t, "indptr", units + 1, "size_t")
        enough(t, "indices", entries, "size_t")
        enough(t, "weights", units, "double")
    end
    enough(t, "counts", t.indptr and entries or rows, "double")
end

local kinds = {double = {"offset", "counts", "weights"}, size_t = {"set_offsets", "indptr", "indices"}}

local function describe(t)
    local data = new("smx_data")
    local function refuse(name, expected)
        local values = t[name]
        local given = type(values) == "cdata" and tostring(ffi.typeof(values)) or type(values)
        error(("%s: expected %s of the ffi, got %s"):format(name, expected, given), 4)
    end
    -- To C they are at any pointer, and integers would be read as doubles, beyond their end.
    local double = are("double", t.features)
    if not double and not are("float", t.features) then
        refuse("features", "doubles or floats")
    end
    for _, kind in ipairs {"double", "size_t"} do
        for _, name in ipairs(kinds[kind]) do
            if t[name] ~= nil and not are(kind, t[name]) then
                refuse(name, kind == "double" and "doubles" or "size_t")
            end
        end
    end
    for _, name in ipairs {"units", "entries", "indices", "weights"} do
        if t[name] ~= nil and not t.indptr then
            error(("indptr: missing, but %s is there"):format(name), 3)
        end
    end
    data.features, data.rows, data.columns = t.features, whole(t, "rows", 0, nil, 3), whole(t, "columns", 0, nil, 3)
    data.dtype = double and constants.SMX_F64 or constants.SMX_F32
    data.row_stride, data.column_stride = whole(t, "row_stride", 0, 0, 3), whole(t, "column_stride", 0, 0, 3)
    data.offset, data.set_offsets, data.sets = t.offset, t.set_offsets, whole(t, "sets", 0, 0, 3)
    if t.indptr then
        data.choices, data.units, data.entries = constants.SMX_UNITS, whole(t, "units", 0, nil, 3), whole(t, "entries", 0, nil, 3)
        data.indptr, data.indices, data.weights = t.indptr, t.indices, t.weights
    end
    data.counts = t.counts
    check_lengths(t, data)
    return data
end

local fields = {}
for name in ([[features rows columns row_stride column_stride offset set_offsets sets counts units entries indptr indices weights
    classes ridge seed starts threads max_evaluations gradient_tolerance progress]]):gmatch("%S+") do
    fields[name] = true
end

-- Fits a mixture. Fields: features, rows, columns, row_stride, column_stride, offset, set_offsets, sets; counts, or units, entries, indptr,
-- indices, counts, weights; classes, ridge, seed, starts, threads, max_evaluations, gradient_tolerance; progress, which is called with an
-- smx_progress and ends the fit by answering false.
function softmix.fit(t)
    for name in pairs(t) do
        if not fields[name] then
            error(("no field %s"):format(tostring(name)), 2)
        end
    end
    local data, k, l = describe(t), tonumber(whole(t, "classes", 1, nil, 2)), tonumber(t.columns)
    local options = new("smx_fit_options")
    for _, name in ipairs {"seed", "starts", "threads", "max_evaluations"} do
        options[name] = whole(t, name, 0, options[name], 2)
    end
    for _, name in ipairs {"ridge", "gradient_tolerance"} do
        if t[name] ~= nil and type(t[name]) ~= "number" then
            error(name .. ": expected a number, got " .. tostring(t[name]), 2)
        end
        options[name] = t[name] or options[name]
    end
    if t.progress ~= nil and type(t.progress) ~= "function" then
        error("progress: expected a function, got " .. tostring(t.progress), 2)
    end
    -- More classes than units are left to C, which says so.
    local room = k <= tonumber(t.indptr and data.units or data.rows) and k or 0
    local model = {
        classes = k, columns = l, data = data,
        -- What the data point to lives as long.
        arrays = {t.features, t.offset or false, t.set_offsets or false, t.indptr or false, t.indices or false, t.counts or false,
                  t.weights or false},
        weights = ffi.new("double[?]", room), atoms = ffi.new("double[?]", room * l), diverging = ffi.new("uint8_t[?]", room),
        unidentified = ffi.new("uint8_t[?]", l)
    }
    local result = new("smx_fit_result")
    result.weights, result.atoms, result.diverging, result.unidentified = model.weights, model.atoms, model.diverging, model.unidentified
    local memory, size = workspace(room > 0 and C.smx_fit_workspace(data, k, options) or none)
    local callback, thrown
    if t.progress then
        -- An error must not cross C: it waits until the fit has ended. Callbacks are few: nothing may fail before this one is free again.
        callback = ffi.cast("smx_progress_fn", function(progress)
            local ok, answer = pcall(t.progress, progress[0])
            if not ok then
                thrown = answer
            end
            return (not ok or answer == false) and 1 or 0
        end)
        options.progress = callback
    end
    local ok, e = pcall(call, C.smx_fit, data, k, options, result, memory, size)
    release(memory)
    if callback then
        callback:free()
    end
    if not ok or thrown then
        error(thrown or e, 0)
    end
    model.log_likelihood, model.outcome = result.log_likelihood, outcomes[result.outcome] or "unknown"
    model.starts, model.at_best = tonumber(result.starts), tonumber(result.at_best)
    return setmetatable(model, {__index = softmix})
end

-- Posterior class probabilities, double[units * classes], unit after unit.
function softmix.posterior(model)
    local units = tonumber(model.data.choices == constants.SMX_UNITS and model.data.units or model.data.rows)
    local r, out = ffi.new("double[?]", units * model.classes), new("smx_evaluation")
    out.responsibilities = r
    local memory, size = workspace(C.smx_evaluate_workspace(model.data, model.classes))
    local ok, e = pcall(call, C.smx_evaluate, model.data, model.classes, model.weights, model.atoms, nil, out, memory, size)
    release(memory)
    if not ok then
        error(e, 0)
    end
    return r
end

return softmix
