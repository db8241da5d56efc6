"""Contains all the data models used in inputs/outputs"""

from .change import Change
from .connection_detail import ConnectionDetail
from .connection_detail_status import ConnectionDetailStatus
from .connection_detail_status_name import ConnectionDetailStatusName
from .connection_page import ConnectionPage
from .connection_status import ConnectionStatus
from .connection_status_status import ConnectionStatusStatus
from .create_connection import CreateConnection
from .create_connection_response_200 import CreateConnectionResponse200
from .credentials import Credentials
from .entry import Entry
from .entry_action import EntryAction
from .entry_source import EntrySource
from .error_400 import Error400
from .error_401 import Error401
from .error_403 import Error403
from .error_404 import Error404
from .error_405 import Error405
from .error_406 import Error406
from .error_409 import Error409
from .error_412 import Error412
from .error_413 import Error413
from .error_415 import Error415
from .error_422 import Error422
from .error_429 import Error429
from .error_500 import Error500
from .error_503 import Error503
from .extra import Extra
from .extra_mode_type_1 import ExtraModeType1
from .extra_mode_type_2_type_1 import ExtraModeType2Type1
from .extra_mode_type_3_type_1 import ExtraModeType3Type1
from .field_error import FieldError
from .field_error_code import FieldErrorCode
from .get_connection_response_200 import GetConnectionResponse200
from .get_history_response_200 import GetHistoryResponse200
from .history import History
from .list_connections_cause import ListConnectionsCause
from .list_connections_count import ListConnectionsCount
from .list_connections_has_webhook_secret import ListConnectionsHasWebhookSecret
from .list_connections_mode import ListConnectionsMode
from .list_connections_outcome import ListConnectionsOutcome
from .list_connections_response_200 import ListConnectionsResponse200
from .list_connections_sort import ListConnectionsSort
from .list_connections_status import ListConnectionsStatus
from .list_workspaces_response_200 import ListWorkspacesResponse200
from .obtain_token_response_200 import ObtainTokenResponse200
from .refresh_token import RefreshToken
from .refresh_token_response_200 import RefreshTokenResponse200
from .restore_secret import RestoreSecret
from .restore_secret_field import RestoreSecretField
from .restore_secret_response_200 import RestoreSecretResponse200
from .sent_back_connection import SentBackConnection
from .set_status_response_200 import SetStatusResponse200
from .stripe_connection import StripeConnection
from .stripe_connection_status import StripeConnectionStatus
from .stripe_connection_status_name import StripeConnectionStatusName
from .token_pair import TokenPair
from .update_connection import UpdateConnection
from .update_connection_response_200 import UpdateConnectionResponse200
from .verification import Verification
from .verification_cause_type_1 import VerificationCauseType1
from .verification_cause_type_2_type_1 import VerificationCauseType2Type1
from .verification_cause_type_3_type_1 import VerificationCauseType3Type1
from .verification_outcome import VerificationOutcome
from .verify_connection import VerifyConnection
from .verify_connection_response_200 import VerifyConnectionResponse200
from .workspace import Workspace
from .workspace_page import WorkspacePage
from .workspace_permissions_item import WorkspacePermissionsItem
from .workspace_role import WorkspaceRole

__all__ = (
    "Change",
    "ConnectionDetail",
    "ConnectionDetailStatus",
    "ConnectionDetailStatusName",
    "ConnectionPage",
    "ConnectionStatus",
    "ConnectionStatusStatus",
    "CreateConnection",
    "CreateConnectionResponse200",
    "Credentials",
    "Entry",
    "EntryAction",
    "EntrySource",
    "Error400",
    "Error401",
    "Error403",
    "Error404",
    "Error405",
    "Error406",
    "Error409",
    "Error412",
    "Error413",
    "Error415",
    "Error422",
    "Error429",
    "Error500",
    "Error503",
    "Extra",
    "ExtraModeType1",
    "ExtraModeType2Type1",
    "ExtraModeType3Type1",
    "FieldError",
    "FieldErrorCode",
    "GetConnectionResponse200",
    "GetHistoryResponse200",
    "History",
    "ListConnectionsCause",
    "ListConnectionsCount",
    "ListConnectionsHasWebhookSecret",
    "ListConnectionsMode",
    "ListConnectionsOutcome",
    "ListConnectionsResponse200",
    "ListConnectionsSort",
    "ListConnectionsStatus",
    "ListWorkspacesResponse200",
    "ObtainTokenResponse200",
    "RefreshToken",
    "RefreshTokenResponse200",
    "RestoreSecret",
    "RestoreSecretField",
    "RestoreSecretResponse200",
    "SentBackConnection",
    "SetStatusResponse200",
    "StripeConnection",
    "StripeConnectionStatus",
    "StripeConnectionStatusName",
    "TokenPair",
    "UpdateConnection",
    "UpdateConnectionResponse200",
    "Verification",
    "VerificationCauseType1",
    "VerificationCauseType2Type1",
    "VerificationCauseType3Type1",
    "VerificationOutcome",
    "VerifyConnection",
    "VerifyConnectionResponse200",
    "Workspace",
    "WorkspacePage",
    "WorkspacePermissionsItem",
    "WorkspaceRole",
)
