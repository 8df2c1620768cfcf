import Foundation
import OverlayDriver
import OverlayModel
import Testing

@testable import OverlayPluginServer

@Suite struct JSONFilterTests {
    /// Filters a text that comes in pieces of a size; nil if it is refused or too much is kept.
    private func filtered(
        _ bytes: [UInt8], _ selection: JSONSelection, piece: Int = .max, limit: Int = 1 << 20
    ) -> [UInt8]? {
        var filter = JSONFilter(selection, keptLimit: limit)
        do throws(JSONFailure) {
            var rest = bytes[...]
            while !rest.isEmpty {
                try filter.take(Array(rest.prefix(piece)).span)
                rest = rest.dropFirst(piece)
                #expect(filter.keptBytes <= limit)
            }
            let kept = try filter.finish()
            return filter.isOverLimit ? nil : kept
        } catch {
            return nil
        }
    }

    private func filtered(_ text: String, _ selection: JSONSelection) -> String? {
        let whole = filtered(Array(text.utf8), selection)
        for piece in 1...7 { #expect(filtered(Array(text.utf8), selection, piece: piece) == whole, "pieces of \(piece)") }
        return whole.map { String(decoding: $0, as: UTF8.self) }
    }

    private static let selection = JSONSelection.fields(
        ["drop": .nothing, "in": .fields(["drop": .nothing], others: .everything)], others: .everything)

    @Test(arguments: [
        (#"{"a":1,"drop":[1,2,{"a":"]}"}],"b":2}"#, #"{"a":1,"b":2}"#), (#"{"drop":1}"#, "{}"),
        (#"{ "drop" : 1 , "a" : -1.5e+3 }"#, #"{"a":-1.5e+3}"#),
        (#"{"in":{"drop":"x","a":[true, false ,null]},"a":{"drop":1}}"#, #"{"in":{"a":[true, false ,null]},"a":{"drop":1}}"#),
        (#"{"in":{"drop":0}}"#, #"{"in":{}}"#), (#"{"in":[{"drop":0}]}"#, #"{"in":[{"drop":0}]}"#),
        (#"{"in":null}"#, #"{"in":null}"#),
        (#"{"in":{"in":{"drop":1}}}"#, #"{"in":{"in":{"drop":1}}}"#),
        // A name may be written with escapes, and more than once.
        (#"{"\u0064rop":1,"a\"":2,"\u0061":3}"#, #"{"a\"":2,"\u0061":3}"#),
        (#"{"drop":1,"drop":2,"a":1,"a":2}"#, #"{"a":1,"a":2}"#),
        (#"{"in":{"a":1},"in":{"drop":1,"b":2}}"#, #"{"in":{"a":1},"in":{"b":2}}"#),
        (#"{"drop":{"in":{"a":1}},"dropp":"é😀"}"#, #"{"dropp":"é😀"}"#), ("[1,2]", "[1,2]"), (" null ", "null"), ("12", "12"),
        ("", ""), (" \n", ""),
    ])
    func `What is kept`(text: String, kept: String) {
        #expect(filtered(text, Self.selection) == kept)
    }

    @Test(arguments: [
        "nul", "nulll", "True", "01", "1.", ".5", "+1", "-", "1e", "0x1", "\"", "\"\n\"", #""\x""#, #""\u12g4""#, #""\u12"#, "[",
        "[1",
        "[1,", "[1,]", "[,1]", "[1 2]", "{", "{\"a\"", "{\"a\":", "{\"a\":1", "{\"a\":1,", "{\"a\":1,}", "{a:1}", "{1:1}", "{} {}",
        "[]]", "'a'",
        "\u{FEFF}{}", "\u{0}", "/**/1", "{]", "[}", "{\"a\":1]", "1 2", "{\"a\":1\"b\":2}",
    ])
    func `What is no JSON, kept or dropped`(text: String) {
        for text in [text, "{\"drop\":\(text)}", "{\"in\":{\"drop\":\(text)}}", "{\"in\":{\"a\":\(text)}}"]
        where !text.hasPrefix("{\"drop\":1,") {
            // Two values in a row are two fields where the text ends an object.
            #expect(filtered(text, Self.selection) == nil, "\(text)")
            #expect((try? JSONText.parse(Array(text.utf8))) == nil, "\(text)")
        }
    }

    @Test func `Text that is not UTF-8 is refused wherever it stands, and however it is cut`() {
        for bytes: [UInt8] in [
            [0xC3, 0x28], [0xFF], [0xED, 0xA0, 0x80], [0xF8, 0x88, 0x80, 0x80, 0x80], [0xC0, 0x80], [0xE0, 0x80, 0x80],
            [0xF4, 0x90, 0x80, 0x80],
            [0xE2, 0x82], [0xF0, 0x9F, 0x98], [0x80],
        ] {
            for (before, after) in [
                ("{\"drop\":\"", "\"}"), ("{\"a\":\"", "\"}"), ("{\"", "\":1}"), ("{\"drop\":{\"", "\":1}}"),
                ("{\"drop\":\"", "\\n\"}"),
            ] {
                for piece in [1, 2, .max] {
                    #expect(filtered(Array(before.utf8) + bytes + Array(after.utf8), Self.selection, piece: piece) == nil)
                }
            }
        }
        // Every first and second byte, as the standard library sees them.
        for first in UInt8(0x80)...0xFF {
            for second in [UInt8(0x7F), 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0] {
                let text = [first, second, 0x80, 0x80].prefix(first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4)
                let isText = String(validating: text, as: UTF8.self) != nil
                #expect((filtered([0x22] + text + [0x22], .nothing) != nil) == isText, "\(first) \(second)")
            }
        }
    }

    @Test func `Everything that is kept is bounded, and everything else takes no memory`() {
        let limit = 1000
        func kept(_ text: String) -> Int? { filtered(Array(text.utf8), Self.selection, piece: 4096, limit: limit)?.count }
        let long = String(repeating: "x", count: 100_000)
        #expect(kept("{\"drop\":\"\(long)\"}") == 2)
        #expect(kept("{\"drop\":[\(String(repeating: "1,", count: 100_000))1],\"a\":1}") == 7)
        // A name that is too long to be selected is dropped with its value.
        #expect(kept("{\"\(long)\":\"\(long)\",\"a\":1}") == 7)
        #expect(kept("{\"\(String(repeating: "\\u0061", count: 100_000))\":1,\"a\":1}") == 7)
        #expect(kept("{\"\(String(repeating: "n", count: JSONFilter.nameLimit))\":1}") == JSONFilter.nameLimit + 6)
        #expect(kept("{\"drop\":\(String(repeating: "9", count: 100_000))}") == 2)
        #expect(kept("{\"drop\":1\(String(repeating: " ", count: 100_000))}") == 2)
        // More of what is kept than may be.
        #expect(kept("{\"a\":\"\(long)\"}") == nil)
        #expect(kept("{\(String(repeating: "\"a\":1,", count: 100_000))\"a\":1}") == nil)
        #expect(kept("{\"in\":{\(String(repeating: "\"a\":1,", count: 100_000))\"a\":1}}") == nil)
        #expect(kept("{\"a\":\(String(repeating: "9", count: 100_000))}") == nil)
    }

    @Test func `Depth is bounded, in what is dropped, too`() {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            for (before, after, more) in [("", "", 0), ("{\"drop\":", "}", 1), ("{\"in\":{\"drop\":", "}}", 2)] {
                let most = JSONText.depthLimit - more
                func nested(_ depth: Int) -> [UInt8] {
                    Array(
                        (before + String(repeating: open, count: depth) + "1" + String(repeating: close, count: depth) + after).utf8
                    )
                }
                #expect(filtered(nested(most), Self.selection) != nil)
                #expect(filtered(nested(most + 1), Self.selection) == nil)
                #expect(filtered(Array((before + String(repeating: open, count: 1 << 20)).utf8), Self.selection) == nil)
            }
        }
    }

    /// Value without what the selection drops.
    private func selected(_ value: OptionValue, _ selection: JSONSelection) -> OptionValue {
        guard case .fields = selection, case .object(let fields) = value else { return value }
        var kept: [String: OptionValue] = [:]
        for (name, value) in fields where selection.field(name) != .nothing && name.utf8.count <= JSONFilter.nameLimit {
            kept[name] = selected(value, selection.field(name))
        }
        return .object(kept)
    }

    @Test func `The parser sees the same in every recorded and every damaged body`() throws {
        let selection = JSONSelection.fields(
            [
                "Options": .fields([OptionName.portMap: .nothing, OptionName.exposedPorts: .nothing], others: .everything),
                "Interface": .fields(["MacAddress": .nothing], others: .everything),
            ], others: .everything)
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        var bodies: [[UInt8]] = []
        for engine in ["20.10", "28.5"] {
            for transcript in try Transcript.load(from: ReplayTests.transcripts, engine: engine) {
                for call in transcript.calls { if let request = call.request { bodies.append(Array(try encoder.encode(request))) } }
            }
        }
        var random = SeededGenerator(seed: 12)
        let alphabet = Array(#"{}[]":,\ntfu0e-. "#.utf8) + [0x00, 0x0A, 0x80, 0xC3, 0xFF]
        var accepted = 0
        for body in bodies {
            for round in 0..<20 {
                var damaged = body
                for _ in 0..<round {
                    guard !damaged.isEmpty else { break }
                    let place = Int.random(in: 0..<damaged.count, using: &random)
                    switch Int.random(in: 0..<3, using: &random) {
                    case 0: damaged[place] = alphabet.randomElement(using: &random) ?? 0
                    case 1: damaged.remove(at: place)
                    default: damaged.insert(alphabet.randomElement(using: &random) ?? 0, at: place)
                    }
                    if round < 15 { break }
                }
                let kept = filtered(damaged, selection, piece: Int.random(in: 1...200, using: &random))
                let ours = kept.flatMap { try? JSONText.parse($0) }
                let theirs = try? JSONText.parse(damaged)
                #expect(ours == theirs.map { selected($0, selection) }, "\(String(decoding: damaged, as: UTF8.self))")
                if ours != nil { accepted += 1 }
            }
        }
        #expect(accepted > bodies.count)
    }

    @Test func `A refusal names the byte, wherever the pieces end`() {
        for piece in [1, 3, 100] {
            var filter = JSONFilter(Self.selection, keptLimit: 100)
            let error = #expect(throws: JSONFailure.self) {
                var rest = Array(#"{"drop":[1,2,x]}"#.utf8)[...]
                while !rest.isEmpty {
                    try filter.take(Array(rest.prefix(piece)).span)
                    rest = rest.dropFirst(piece)
                }
            }
            #expect(error?.text == "the body is not JSON: byte 120 at offset 13 does not belong there")
        }
    }
}
