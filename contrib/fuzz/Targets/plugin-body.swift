public import Fuzzing
import OverlayDriver
import OverlayModel

@testable import OverlayPluginServer

private let selection = JSONSelection.fields(
    [
        "d": .nothing,
        "Options": .fields([OptionName.portMap: .nothing, OptionName.exposedPorts: .nothing, "d": .nothing], others: .everything),
    ], others: .everything)
private let keptLimit = 1024

/// Bodies in pieces. The first byte tells the size of the pieces; the rest is the body.
@_silgen_name("fuzzTarget") public func target() -> Target {
    let texts = [
        #"{"NetworkID":"a","Options":{"com.docker.network.portmap":[{"Proto":6,"Port":1}],"name":"x"},"b":1}"#,
        #"{"Options":{"com.docker.network.endpoint.exposedports":[{"Proto":17,"Port":2}],"d":{"d":[]}},"d":"é\u0064"}"#,
        #"{"\u0064":1,"a":[true,false,null,-0.5e+10,{"d":{}}],"Options":[{"d":1}]}"#, "{}", "[]", " null ", "", "12",
        String(repeating: "[", count: 64) + String(repeating: "]", count: 64), String(repeating: #"{"d":"#, count: 65),
        #"{"d":"\ud83d\ude00"}"#,
    ]
    return Target(seeds: texts.flatMap { text in [1, 3, 255].map { [UInt8($0)] + Array(text.utf8) } }, run: run)
}

private func run(_ bytes: [UInt8]) {
    guard let first = bytes.first else { return }
    let body = Array(bytes.dropFirst())
    let whole = kept(body, piece: .max)
    require(kept(body, piece: max(1, Int(first))) == whole, "pieces change nothing")
    let value = try? JSONText.parse(body)
    guard let whole else {
        // Refused by its form, or too much to keep. The parser also knows numbers that are too large.
        require(value == nil || body.count > keptLimit, "what is JSON is not refused")
        return
    }
    require(whole.count <= keptLimit, "what is kept is bounded")
    guard let value, let expected = selected(value, selection) else { return }
    require((try? JSONText.parse(whole)) == expected, "what was selected is kept")
}

private func kept(_ body: [UInt8], piece: Int) -> [UInt8]? {
    var filter = JSONFilter(selection, keptLimit: keptLimit)
    do throws(JSONFailure) {
        var rest = body[...]
        while !rest.isEmpty {
            try filter.take(Array(rest.prefix(piece)).span)
            rest = rest.dropFirst(piece)
        }
        let kept = try filter.finish()
        return filter.isOverLimit ? nil : kept
    } catch {
        return nil
    }
}

/// Value without what the selection drops; nil if a name may be too long to be selected.
private func selected(_ value: OptionValue, _ selection: JSONSelection) -> OptionValue? {
    guard case .fields = selection, case .object(let fields) = value else { return value }
    var kept: [String: OptionValue] = [:]
    for (name, value) in fields where selection.field(name) != .nothing {
        guard name.utf8.count <= JSONFilter.nameLimit / 6 else { return nil }
        guard let part = selected(value, selection.field(name)) else { return nil }
        kept[name] = part
    }
    return .object(kept)
}
